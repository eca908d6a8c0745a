//! The simulated tree: inodes, names, boundaries and the crash.
//!
//! Owns:       all state of a [`crate::SimDisk`].
//! Uses:       `content` (bytes of files), `rand`.
//! Never:      the `disk` traits, which `fs` and `file` implement on top.
//! Invariants: the root directory always exists; an inode lives while a name, a pending name change
//!             or an open file refers to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use disk::LockKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::content::FileData;

/// Number of an inode; never used twice.
pub(crate) type Inode = u64;

/// The root directory.
const ROOT: Inode = 0;

/// A name change that no directory sync has made durable yet.
#[derive(Clone)]
enum NameChange {
    Link {
        name: String,
        inode: Inode,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        inode: Inode,
    },
    /// Rename from another directory: atomic, recorded at its destination.
    MoveIn {
        name: String,
        inode: Inode,
        from_dir: Inode,
        from_name: String,
    },
}

#[derive(Clone, Default)]
struct Directory {
    seen: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum Node {
    File(FileNode),
    Directory(Directory),
}

/// A file with the locks on it.
#[derive(Clone, Default)]
pub(crate) struct FileNode {
    pub(crate) data: FileData,
    /// Handles that are open.
    pub(crate) open: BTreeSet<u64>,
    /// Handle that holds the OFD lock.
    pub(crate) ofd_lock: Option<u64>,
    /// Handle that holds the flock.
    pub(crate) flock: Option<u64>,
}

impl FileNode {
    /// Takes a lock for `handle` unless another handle has it.
    pub(crate) fn try_lock(&mut self, kind: LockKind, handle: u64) -> bool {
        let holder = match kind {
            LockKind::Ofd => &mut self.ofd_lock,
            LockKind::Flock => &mut self.flock,
        };
        *holder.get_or_insert(handle) == handle
    }

    pub(crate) fn close(&mut self, handle: u64) {
        self.open.remove(&handle);
        for holder in [&mut self.ofd_lock, &mut self.flock] {
            if *holder == Some(handle) {
                *holder = None;
            }
        }
    }
}

/// Everything behind a `SimDisk`.
pub(crate) struct State {
    nodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    next_handle: u64,
    /// Files opened in an earlier boot are dead.
    pub(crate) boot: u64,
    pub(crate) rng: StdRng,
    pub(crate) boundaries: u64,
    pub(crate) crash_at: Option<u64>,
    pub(crate) writes_left: u64,
    pub(crate) space_limit_bytes: u64,
    pub(crate) fail_sync: bool,
    /// Syncs until one fails.
    pub(crate) fail_sync_after: Option<u64>,
}

impl State {
    pub(crate) fn new(seed: u64) -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]),
            next_inode: ROOT + 1,
            next_handle: 0,
            boot: 0,
            rng: StdRng::seed_from_u64(seed),
            boundaries: 0,
            crash_at: None,
            writes_left: u64::MAX,
            space_limit_bytes: u64::MAX,
            fail_sync: false,
            fail_sync_after: None,
        }
    }

    pub(crate) fn fork(&self) -> State {
        let mut nodes = self.nodes.clone();
        for node in nodes.values_mut() {
            if let Node::File(file) = node {
                *file = FileNode { data: file.data.clone(), ..FileNode::default() };
            }
        }
        State {
            nodes,
            next_inode: self.next_inode,
            rng: self.rng.clone(),
            boundaries: self.boundaries,
            space_limit_bytes: self.space_limit_bytes,
            ..State::new(0)
        }
    }

    /// Fails when the power is already off.
    pub(crate) fn check_power(&self) -> io::Result<()> {
        let off = self.crash_at.is_some_and(|at| self.boundaries >= at);
        if off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts a boundary before it is carried out; the returned [`Fate`] says how it ends.
    pub(crate) fn boundary(&mut self) -> io::Result<Fate> {
        self.check_power()?;
        self.boundaries += 1;
        let cut = self.crash_at == Some(self.boundaries);
        Ok(if cut { Fate::PowerCut } else { Fate::Done })
    }

    /// Counts a sync; says whether it is to fail.
    pub(crate) fn sync_fails(&mut self) -> bool {
        let due = self.fail_sync_after == Some(0);
        self.fail_sync_after = if due { None } else { self.fail_sync_after.map(|left| left - 1) };
        due || self.fail_sync
    }

    pub(crate) fn new_handle(&mut self, inode: Inode) -> io::Result<u64> {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.file_mut(inode)?.open.insert(handle);
        Ok(handle)
    }

    pub(crate) fn file(&self, inode: Inode) -> io::Result<&FileNode> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn file_mut(&mut self, inode: Inode) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory(&self, inode: Inode) -> io::Result<&Directory> {
        match self.nodes.get(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Inode of a path.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for name in components(path)? {
            let found = self.directory(inode)?.seen.get(&name);
            inode = *found.ok_or_else(|| not_found(path))?;
        }
        Ok(inode)
    }

    fn find_parent(&self, path: &Path) -> io::Result<(Inode, String)> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent: PathBuf = names.iter().collect();
        let inode = self.find(&parent).map_err(|_| not_found(path))?;
        self.directory(inode)?;
        Ok((inode, name))
    }

    fn add_node(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let (parent, name) = self.find_parent(path)?;
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        self.directory_mut(parent)?.change(NameChange::Link { name, inode });
        Ok(inode)
    }

    pub(crate) fn add_file(&mut self, path: &Path) -> io::Result<Inode> {
        self.add_node(path, Node::File(FileNode::default()))
    }

    pub(crate) fn add_directory(&mut self, path: &Path) -> io::Result<Inode> {
        self.add_node(path, Node::Directory(Directory::default()))
    }

    pub(crate) fn require_parent(&self, path: &Path) -> io::Result<()> {
        self.find_parent(path).map(|_| ())
    }

    pub(crate) fn is_directory(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(&inode), Some(Node::Directory(_)))
    }

    pub(crate) fn is_empty_directory(&self, inode: Inode) -> bool {
        self.directory(inode).is_ok_and(|directory| directory.seen.is_empty())
    }

    pub(crate) fn names(&self, inode: Inode) -> io::Result<Vec<String>> {
        Ok(self.directory(inode)?.seen.keys().cloned().collect())
    }

    pub(crate) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.find_parent(path)?;
        self.directory_mut(parent)?.change(NameChange::Unlink { name });
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let (from_dir, from_name) = self.find_parent(from)?;
        let (to_dir, name) = self.find_parent(to)?;
        if from_dir == to_dir {
            let change = NameChange::Rename { from: from_name, to: name, inode };
            self.directory_mut(to_dir)?.change(change);
            return Ok(());
        }
        let source = self.directory_mut(from_dir)?;
        source.seen.remove(&from_name);
        // A link that was never durable must not come back beside the moved name.
        source.pending.retain(|change| {
            !matches!(change, NameChange::Link { name, inode: linked }
                if *name == from_name && *linked == inode)
        });
        let change = NameChange::MoveIn { name, inode, from_dir, from_name };
        self.directory_mut(to_dir)?.change(change);
        Ok(())
    }

    /// Makes the names of a directory durable, moves out of it included.
    pub(crate) fn sync_directory(&mut self, inode: Inode) -> io::Result<()> {
        self.directory(inode)?;
        let moved_out = |change: &NameChange| matches!(change, NameChange::MoveIn { from_dir, .. } if *from_dir == inode);
        let mut targets = vec![inode];
        for (number, node) in &self.nodes {
            if let Node::Directory(directory) = node
                && *number != inode
                && directory.pending.iter().any(moved_out)
            {
                targets.push(*number);
            }
        }
        for target in targets {
            let count = self.directory(target)?.pending.len();
            self.settle(target, count)?;
        }
        self.sweep();
        Ok(())
    }

    /// Makes the first `count` pending changes of a directory durable and drops them.
    fn settle(&mut self, inode: Inode, count: usize) -> io::Result<()> {
        let directory = self.directory_mut(inode)?;
        let changes: Vec<NameChange> = directory.pending.drain(..count).collect();
        let mut moves = Vec::new();
        for change in changes {
            change.apply(&mut directory.durable);
            if let NameChange::MoveIn { inode, from_dir, from_name, .. } = change {
                moves.push((from_dir, from_name, inode));
            }
        }
        for (from_dir, from_name, moved) in moves {
            if let Ok(source) = self.directory_mut(from_dir)
                && source.durable.get(&from_name) == Some(&moved)
            {
                source.durable.remove(&from_name);
            }
        }
        Ok(())
    }

    /// Cuts the power and boots again.
    pub(crate) fn crash(&mut self) {
        let numbers: Vec<Inode> = self.nodes.keys().copied().collect();
        for inode in &numbers {
            let pending = self.directory(*inode).map_or(0, |directory| directory.pending.len());
            if pending > 0 {
                let kept = self.rng.random_range(0..=pending);
                // The inode is a directory, as the line above has just seen.
                let _settled = self.settle(*inode, kept);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::Directory(directory) => {
                    directory.pending.clear();
                    directory.seen = directory.durable.clone();
                }
                Node::File(file) => {
                    file.data.crash(&mut self.rng);
                    *file = FileNode { data: file.data.clone(), ..FileNode::default() };
                }
            }
        }
        self.sweep();
        self.boot += 1;
        self.crash_at = None;
        self.writes_left = u64::MAX;
        self.fail_sync = false;
        self.fail_sync_after = None;
    }

    /// Drops inodes to which nothing refers.
    fn sweep(&mut self) {
        let mut live = BTreeSet::from([ROOT]);
        let mut queue = vec![ROOT];
        while let Some(inode) = queue.pop() {
            let Ok(directory) = self.directory(inode) else { continue };
            for next in directory.references() {
                if live.insert(next) {
                    queue.push(next);
                }
            }
        }
        self.nodes.retain(|inode, node| {
            let open = matches!(node, Node::File(file) if !file.open.is_empty());
            open || live.contains(inode)
        });
    }

    /// Sum of the lengths of all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        let mut linked = BTreeSet::new();
        for node in self.nodes.values() {
            if let Node::Directory(directory) = node {
                linked.extend(directory.seen.values().copied());
            }
        }
        linked.iter().filter_map(|inode| self.file(*inode).ok()).map(|file| file.data.len()).sum()
    }

    pub(crate) fn snapshot_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut queue = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = queue.pop() {
            match self.nodes.get(&inode) {
                Some(Node::File(file)) => {
                    files.insert(path, file.data.to_vec());
                }
                Some(Node::Directory(directory)) => {
                    queue
                        .extend(directory.seen.iter().map(|(name, next)| (path.join(name), *next)));
                }
                None => {}
            }
        }
        files
    }
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn references(&self) -> Vec<Inode> {
        let mut all: Vec<Inode> =
            self.seen.values().chain(self.durable.values()).copied().collect();
        for change in &self.pending {
            match change {
                NameChange::Link { inode, .. }
                | NameChange::Rename { inode, .. }
                | NameChange::MoveIn { inode, .. } => all.push(*inode),
                NameChange::Unlink { .. } => {}
            }
        }
        all
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            NameChange::Link { name, inode } | NameChange::MoveIn { name, inode, .. } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// How a boundary ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As asked.
    Done,
    /// The power goes while it is under way: it stays un-synced and the call fails.
    PowerCut,
}

impl Fate {
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Fate::Done => Ok(()),
            Fate::PowerCut => Err(power_is_off()),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("simulated power cut")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: not found", path.display()))
}

/// Names along a path; the root and `.` are left out.
fn components(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

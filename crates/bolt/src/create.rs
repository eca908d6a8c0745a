//! A new, empty database, and finding the metas of an existing one.
//!
//! Owns:       the temporary file under which a database is made.
//! Uses:       `disk`, `meta`, `node`.
//! Never:      a database that is half made under its own name.
//! Invariants: the name appears only after all bytes are durable.
//! Source:     docs/format/bolt.md 2 and 5; disk-formats.md 5.7.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{BlockFile, Disk, LockKind, OpenMode};

use crate::error::BoltError;
use crate::meta::{META_PAGE_BYTES, Meta, NO_FREELIST};
use crate::node::Node;
use crate::page::{FLAG_FREELIST, Header, PAGE_SIZES};
use crate::store::FIRST_PAGE;

/// Behind the database's name while it is made; etcd removes `db.tmp*` when it starts.
const TEMPORARY_SUFFIX: &str = ".tmp.create";

/// Attaches a path to an error of the file system.
pub(crate) fn at_path<T>(path: &Path, result: io::Result<T>) -> Result<T, BoltError> {
    result.map_err(|source| BoltError::Io { path: path.to_path_buf(), source })
}

/// Opens the database with its lock, making it first when it is missing or empty.
pub(crate) fn open_locked(
    disk: &dyn Disk,
    path: &Path,
    page_size: usize,
) -> Result<Arc<dyn BlockFile>, BoltError> {
    if at_path(path, disk.exists(path))? {
        let file = lock_existing(disk, path)?;
        if !at_path(path, file.is_empty())? {
            return Ok(file);
        }
        // Somebody crashed between making the name and writing: the lock on the empty file is
        // kept until its replacement is locked.
        create(disk, path, page_size, WhenTaken::Replace)?;
        return lock_existing(disk, path);
    }
    create(disk, path, page_size, WhenTaken::Leave)?;
    lock_existing(disk, path)
}

fn lock_existing(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn BlockFile>, BoltError> {
    let file = at_path(path, disk.open(path, OpenMode::ReadWrite))?;
    take_lock(path, &file)?;
    Ok(file)
}

fn take_lock(path: &Path, file: &Arc<dyn BlockFile>) -> Result<(), BoltError> {
    let locked = at_path(path, file.try_lock(LockKind::Flock))?;
    if locked { Ok(()) } else { Err(BoltError::Locked) }
}

/// What to do when the name exists by the time that the file is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenTaken {
    Leave,
    Replace,
}

fn create(
    disk: &dyn Disk,
    path: &Path,
    page_size: usize,
    when_taken: WhenTaken,
) -> Result<(), BoltError> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = PathBuf::from(name);
    let file = at_path(&temporary, disk.open(&temporary, OpenMode::CreateOrOpen))?;
    take_lock(path, &file)?;
    if when_taken == WhenTaken::Leave && at_path(path, disk.exists(path))? {
        // Another process was faster: what is locked here is a second temporary file.
        return at_path(&temporary, disk.remove_file(&temporary));
    }
    let write = || {
        file.set_len(0)?;
        file.write_at(0, &empty_image(page_size))?;
        file.sync_data()
    };
    at_path(&temporary, write())?;
    at_path(path, disk.rename(&temporary, path))?;
    sync_parent(disk, path)
}

/// Makes the name of a file durable.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), BoltError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    at_path(path, disk.sync_dir(parent.unwrap_or(Path::new("."))))
}

/// Two metas, an empty freelist page that no meta names, an empty leaf.
fn empty_image(page_size: usize) -> Vec<u8> {
    let root = FIRST_PAGE + 1;
    let high_water = root + 1;
    let mut image = Vec::new();
    for txid in 0..2 {
        let meta = Meta { page_size, root, sequence: 0, freelist: NO_FREELIST, high_water, txid };
        image.extend_from_slice(&meta.encode(txid));
        image.resize(image.len().next_multiple_of(page_size), 0);
    }
    let freelist = Header { id: FIRST_PAGE, flags: FLAG_FREELIST, count: 0, overflow: 0 };
    image.extend_from_slice(&freelist.encode());
    image.resize(image.len().next_multiple_of(page_size), 0);
    image.extend_from_slice(&Node::leaf(Vec::new()).encode(root, page_size));
    image
}

/// The metas of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metas {
    pub(crate) newest: Meta,
    /// Page in which the newest is.
    pub(crate) slot: u64,
    /// The other one, if it is valid.
    pub(crate) older: Option<Meta>,
}

/// Reads both metas; the page size is found in the first, else searched for.
pub(crate) fn read_metas(file: &dyn BlockFile) -> Result<Metas, BoltError> {
    let path = file.path();
    let read = |offset: u64| -> Result<Option<Meta>, BoltError> {
        let mut page = [0; META_PAGE_BYTES];
        let got = at_path(&path, file.read_at(offset, &mut page))?;
        Ok(Meta::decode(&page[..got]))
    };
    let first = read(0)?;
    let second = match first {
        Some(first) => read(first.page_size as u64)?.filter(|it| it.page_size == first.page_size),
        None => {
            let mut found = None;
            for shift in PAGE_SIZES {
                let meta = read(1 << shift)?.filter(|meta| meta.page_size == 1 << shift);
                found = found.or(meta);
            }
            found
        }
    };
    match (first, second) {
        (Some(first), Some(second)) if second.txid > first.txid => {
            Ok(Metas { newest: second, slot: 1, older: Some(first) })
        }
        (Some(first), older) => Ok(Metas { newest: first, slot: 0, older }),
        (None, Some(second)) => Ok(Metas { newest: second, slot: 1, older: None }),
        (None, None) => Err(BoltError::Corrupt {
            file: path,
            offset: 0,
            expected: "a valid meta page".to_owned(),
            found: "none".to_owned(),
        }),
    }
}

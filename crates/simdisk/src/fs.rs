//! The `Disk` trait over the simulated tree.
//!
//! Owns:       nothing.
//! Uses:       `tree`, `file`.
//! Never:      bytes of files.
//! Invariants: each change of names is one boundary.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{BlockFile, Disk, OpenMode};

use crate::file::SimFile;
use crate::tree::{Fate, State};

/// The tree as programs use it.
pub(crate) struct SimFs {
    pub(crate) state: Arc<Mutex<State>>,
}

impl SimFs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn BlockFile>> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = match (state.find(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => inode,
            (Err(error), OpenMode::Read | OpenMode::ReadWrite) => return Err(error),
            (Err(_), OpenMode::CreateNew | OpenMode::CreateOrOpen) => {
                state.require_parent(path)?;
                let fate = state.boundary()?;
                let inode = state.add_file(path)?;
                fate.finish()?;
                inode
            }
        };
        let handle = state.new_handle(inode)?;
        let boot = state.boot;
        let writable = mode != OpenMode::Read;
        drop(state);
        let state = Arc::clone(&self.state);
        Ok(Arc::new(SimFile { state, inode, handle, boot, writable, path: path.to_path_buf() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        let mut prefix = PathBuf::new();
        for component in path.components() {
            prefix.push(component);
            match state.find(&prefix) {
                Ok(inode) if state.is_directory(inode) => {}
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(_) => {
                    let fate = state.boundary()?;
                    state.add_directory(&prefix)?;
                    fate.finish()?;
                }
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = state.find(from)?;
        state.require_parent(to)?;
        if let Ok(target) = state.find(to) {
            if target == inode {
                return Ok(());
            }
            let onto_file = !state.is_directory(target) && !state.is_directory(inode);
            let onto_empty = state.is_directory(inode) && state.is_empty_directory(target);
            if !onto_file && !onto_empty {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        let fate = state.boundary()?;
        state.rename(from, to)?;
        fate.finish()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = state.find(path)?;
        state.file(inode)?;
        let fate = state.boundary()?;
        state.unlink(path)?;
        fate.finish()
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = state.find(path)?;
        if !state.is_directory(inode) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        remove_tree(&mut state, path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.check_power()?;
        state.names(state.find(dir)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = state.find(dir)?;
        let fate = state.boundary()?;
        if state.sync_fails() {
            return Err(io::Error::other("simulated sync failure"));
        }
        if fate == Fate::Done {
            state.sync_directory(inode)?;
        }
        fate.finish()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.lock();
        state.check_power()?;
        Ok(state.find(path).is_ok())
    }
}

/// Removes the leaves first, each as a boundary of its own.
fn remove_tree(state: &mut State, path: &Path) -> io::Result<()> {
    let inode = state.find(path)?;
    if state.is_directory(inode) {
        for name in state.names(inode)? {
            remove_tree(state, &path.join(name))?;
        }
    }
    let fate = state.boundary()?;
    state.unlink(path)?;
    fate.finish()
}

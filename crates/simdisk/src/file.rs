//! The `BlockFile` trait over a simulated file.
//!
//! Owns:       one open handle.
//! Uses:       `tree`, `content`.
//! Never:      names.
//! Invariants: a handle of an earlier boot changes nothing and returns errors.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{BlockFile, LockKind};

use crate::content::Change;
use crate::tree::{Fate, Inode, State};

/// An open simulated file.
pub(crate) struct SimFile {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) inode: Inode,
    pub(crate) handle: u64,
    pub(crate) boot: u64,
    pub(crate) writable: bool,
    pub(crate) path: PathBuf,
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.boot != self.boot {
            return Err(io::Error::other("file was opened before a simulated crash"));
        }
        state.check_power()?;
        Ok(state)
    }

    fn lock_for_write(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock()?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(state)
    }

    /// Counts a write and says how long the file may become.
    fn begin_write(&self, state: &mut State) -> io::Result<(Fate, u64)> {
        let fate = state.boundary()?;
        if state.writes_left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.writes_left != u64::MAX {
            state.writes_left -= 1;
        }
        if state.space_limit_bytes == u64::MAX {
            return Ok((fate, u64::MAX));
        }
        let others = state.used_bytes().saturating_sub(state.file(self.inode)?.data.len());
        Ok((fate, state.space_limit_bytes.saturating_sub(others)))
    }

    fn change_len(&self, state: &mut State, len: u64) -> io::Result<()> {
        let (fate, len_max) = self.begin_write(state)?;
        let data = &mut state.file_mut(self.inode)?.data;
        if len > len_max && len > data.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        data.change(Change::SetLen(len));
        fate.finish()
    }
}

impl BlockFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.lock()?.file(self.inode)?.data.read(offset, buf))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock_for_write()?;
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        let (fate, len_max) = self.begin_write(&mut state)?;
        let file = &mut state.file_mut(self.inode)?.data;
        let room = len_max.max(file.len()).saturating_sub(offset);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
        if fits > 0 {
            file.change(Change::Write { offset, data: data[..fits].to_vec() });
        }
        fate.finish()?;
        let fits_whole = end <= len_max.max(file.len());
        if fits_whole { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let fate = state.boundary()?;
        let fail = state.sync_fails();
        let file = &mut state.file_mut(self.inode)?.data;
        if fail {
            file.fail_sync();
            return Err(io::Error::other("simulated sync failure"));
        }
        if fate == Fate::Done {
            file.sync();
        }
        fate.finish()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_for_write()?;
        self.change_len(&mut state, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_for_write()?;
        if len <= state.file(self.inode)?.data.len() {
            return Ok(());
        }
        self.change_len(&mut state, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.file(self.inode)?.data.len())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        Ok(self.lock()?.file_mut(self.inode)?.try_lock(kind, self.handle))
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.boot == self.boot
            && let Ok(file) = state.file_mut(self.inode)
        {
            file.close(self.handle);
        }
    }
}

//! The real file system behind the `disk` traits.
//!
//! Owns:       open file descriptors and the locks taken on them.
//! Uses:       `disk` (traits), `nix` (OFD lock, flock, fallocate), `std::fs`.
//! Never:      buffering, memory mapping, retries of a failed sync.
//! Invariants: every call maps to the system call it names, interrupted calls are repeated; a lock
//!             lives exactly as long as the file it was taken on.
//! Source:     disk-formats.md 1 (modes 0700 and 0600, OFD locks for WAL, flock for the database).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use disk::{BlockFile, Disk, LockKind, OpenMode};
use nix::errno::Errno;
use nix::fcntl::{self, FallocateFlags, FcntlArg, Flock, FlockArg};

/// Mode of created files: etcd's database and log are private to their owner.
const FILE_MODE: u32 = 0o600;
/// Mode of created directories.
const DIR_MODE: u32 = 0o700;

#[expect(clippy::cast_possible_truncation, reason = "small constants that libc types too wide")]
const WRITE_LOCK: i16 = nix::libc::F_WRLCK as i16;
#[expect(clippy::cast_possible_truncation, reason = "small constants that libc types too wide")]
const FROM_START: i16 = nix::libc::SEEK_SET as i16;

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn BlockFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::CreateOrOpen => {
                options.write(true).create(true).truncate(false);
            }
        }
        let file = options.open(path)?;
        Ok(Arc::new(OsFile { file, path: path.to_path_buf(), flock: Mutex::new(None) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }
}

/// One open file.
struct OsFile {
    file: File,
    path: PathBuf,
    /// Duplicate descriptor through which flock(2) was taken; dropping it unlocks.
    flock: Mutex<Option<Flock<File>>>,
}

impl OsFile {
    fn try_ofd_lock(&self) -> io::Result<bool> {
        let whole_file = nix::libc::flock {
            l_type: WRITE_LOCK,
            l_whence: FROM_START,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl::fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn try_flock(&self) -> io::Result<bool> {
        let mut held = self.flock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(true);
        }
        match Flock::lock(self.file.try_clone()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                *held = Some(lock);
                Ok(true)
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(false),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

impl BlockFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let wanted = nix::libc::off_t::try_from(len).map_err(too_long)?;
        if wanted == 0 {
            return Ok(());
        }
        loop {
            match fcntl::fallocate(&self.file, FallocateFlags::empty(), 0, wanted) {
                Ok(()) => return Ok(()),
                Err(Errno::EINTR) => {}
                // File systems without the call (NFS before 4.2): extend only, as etcd does.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => return self.extend(len),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        match kind {
            LockKind::Ofd => self.try_ofd_lock(),
            LockKind::Flock => self.try_flock(),
        }
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl OsFile {
    fn extend(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.file.set_len(len) } else { Ok(()) }
    }
}

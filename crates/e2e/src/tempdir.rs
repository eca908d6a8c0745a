//! Directories that end with their test.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory of its own, removed with its contents on drop. With `ETCH_E2E_KEEP` set it stays.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Creates a directory whose name tells the test (`label`) and the process.
    ///
    /// # Panics
    /// When it cannot be created.
    #[must_use]
    pub fn new(label: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("etch-e2e-{}-{number}-{label}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("create a temporary directory");
        Self { path }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::env::var_os("ETCH_E2E_KEEP").is_none() {
            // Nothing depends on it: the next run takes another name.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Copies a directory tree; symbolic links and sockets are left out. Zeros at the end of a file,
/// the preallocated part of a log, take no time and no room.
///
/// # Panics
/// When something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create directory of copy");
    for entry in std::fs::read_dir(from).expect("read directory to copy") {
        let entry = entry.expect("read directory entry");
        let (kind, target) = (entry.file_type().expect("file type"), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            copy_file(&entry.path(), &target).expect("copy file");
        }
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, mut target) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let size = source.read(&mut buffer)?;
        if size == 0 {
            return target.set_len(source.metadata()?.len());
        }
        let skipped = i64::try_from(size).map_err(io::Error::other)?;
        if buffer[..size].iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(skipped))?;
        } else {
            target.write_all(&buffer[..size])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_hold_the_same_bytes() {
        let directory = TempDir::new("copy");
        let mut bytes = vec![7; 3_000_000];
        bytes.extend(vec![0; 5_000_000]);
        bytes.extend(b"in between");
        bytes.extend(vec![0; 2_500_000]);
        std::fs::create_dir_all(directory.join("from/below")).expect("create");
        std::fs::write(directory.join("from/below/file"), &bytes).expect("write");
        copy_tree(&directory.join("from"), &directory.join("to"));
        assert!(std::fs::read(directory.join("to/below/file")).expect("read") == bytes);
    }
}

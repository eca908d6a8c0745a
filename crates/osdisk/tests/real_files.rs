//! The traits' promises on the machine's own file system.

#![cfg(test)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use disk::{Disk, LockKind, OpenMode};
use osdisk::OsDisk;

/// A directory that vanishes with the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("osdisk-{}-{name}", std::process::id()));
        OsDisk.create_dir_all(&path.join("a/b")).unwrap();
        TempDir(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn write_read_len_allocate() {
    let dir = TempDir::new("rw");
    let path = dir.path().join("a/file");
    let file = OsDisk.open(&path, OpenMode::CreateNew).unwrap();
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(mode_of(&dir.path().join("a/b")), 0o700);
    file.write_at(5, b"hello").unwrap();
    assert_eq!(file.len().unwrap(), 10);
    let mut buf = [1; 16];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 10);
    assert_eq!(&buf[..10], b"\0\0\0\0\0hello");
    assert_eq!(file.read_at(100, &mut buf).unwrap(), 0);
    file.allocate(4).unwrap();
    assert_eq!(file.len().unwrap(), 10);
    file.allocate(8192).unwrap();
    assert_eq!(file.len().unwrap(), 8192);
    file.set_len(3).unwrap();
    file.sync_data().unwrap();
    let error = file.read_exact_at(0, &mut buf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn open_modes() {
    let dir = TempDir::new("modes");
    let path = dir.path().join("file");
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_eq!(OsDisk.open(&path, mode).map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound);
    }
    OsDisk.open(&path, OpenMode::CreateOrOpen).unwrap().write_at(0, b"x").unwrap();
    let exists = OsDisk.open(&path, OpenMode::CreateNew).map(|_| ()).unwrap_err();
    assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
    assert_eq!(OsDisk.open(&path, OpenMode::CreateOrOpen).unwrap().len().unwrap(), 1);
    assert!(OsDisk.open(&path, OpenMode::Read).unwrap().write_at(0, b"y").is_err());
}

#[test]
fn names() {
    let dir = TempDir::new("names");
    for name in ["b.txt", "c.txt", "a.txt"] {
        OsDisk.open(&dir.path().join("a").join(name), OpenMode::CreateNew).unwrap();
    }
    let a = dir.path().join("a");
    OsDisk.rename(&a.join("c.txt"), &a.join("a.txt")).unwrap();
    OsDisk.sync_dir(&a).unwrap();
    assert_eq!(OsDisk.list(&a).unwrap(), ["a.txt", "b", "b.txt"]);
    OsDisk.remove_file(&a.join("a.txt")).unwrap();
    assert!(!OsDisk.exists(&a.join("a.txt")).unwrap());
    OsDisk.remove_dir_all(&a).unwrap();
    assert_eq!(OsDisk.list(&a).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn locks_exclude_their_own_kind_only() {
    let dir = TempDir::new("locks");
    let path = dir.path().join("file");
    let first = OsDisk.open(&path, OpenMode::CreateNew).unwrap();
    let second = OsDisk.open(&path, OpenMode::ReadWrite).unwrap();
    for (kind, other) in [(LockKind::Ofd, LockKind::Flock), (LockKind::Flock, LockKind::Ofd)] {
        assert!(first.try_lock(kind).unwrap());
        assert!(first.try_lock(kind).unwrap());
        assert!(!second.try_lock(kind).unwrap());
        let third = OsDisk.open(&path, OpenMode::ReadWrite).unwrap();
        assert_eq!(third.try_lock(other).unwrap(), kind == LockKind::Ofd);
    }
    drop(first);
    assert!(second.try_lock(LockKind::Ofd).unwrap());
    assert!(second.try_lock(LockKind::Flock).unwrap());
}

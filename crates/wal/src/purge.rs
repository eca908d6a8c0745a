//! Deletes old segments and snapshot files beyond a number.
//!
//! Owns:       nothing.
//! Uses:       `disk`.
//! Never:      deletes a segment that an open log holds, or a newer file before an older one.
//! Source:     disk-formats.md 2.9.

use std::path::Path;

use disk::{Disk, LockKind, OpenMode};

use crate::WalError;
use crate::replay::list_segments;

/// Deletes the oldest segments beyond `max_wals`, up to the first that is locked; returns their
/// names.
///
/// # Errors
/// Those of the file system.
pub fn purge(disk: &dyn Disk, dir: &Path, max_wals: usize) -> Result<Vec<String>, WalError> {
    let listed = list_segments(disk, dir)?;
    let surplus = listed.len().saturating_sub(max_wals);
    let mut removed = Vec::new();
    for (name, _, _) in listed.into_iter().take(surplus) {
        let path = dir.join(&name);
        let failed = |source| WalError::io("purge wal segment", &path, source);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        if !file.try_lock(LockKind::Ofd).map_err(failed)? {
            break;
        }
        disk.remove_file(&path).map_err(failed)?;
        removed.push(name);
    }
    sync_removals(disk, dir, &removed)?;
    Ok(removed)
}

/// Deletes the oldest files with the suffix (`.snap` or `.snap.db`) beyond `max`; returns their
/// names.
///
/// # Errors
/// Those of the file system.
pub fn purge_snaps(
    disk: &dyn Disk,
    dir: &Path,
    suffix: &str,
    max: usize,
) -> Result<Vec<String>, WalError> {
    let names = disk.list(dir).map_err(|source| WalError::io("list snapshots in", dir, source))?;
    let mut names: Vec<_> = names.into_iter().filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names.truncate(names.len().saturating_sub(max));
    for name in &names {
        let path = dir.join(name);
        disk.remove_file(&path).map_err(|source| WalError::io("purge snapshot", &path, source))?;
    }
    sync_removals(disk, dir, &names)?;
    Ok(names)
}

/// Keeps a crash from bringing back an old file without the one behind it.
fn sync_removals(disk: &dyn Disk, dir: &Path, removed: &[String]) -> Result<(), WalError> {
    if removed.is_empty() {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(|source| WalError::io("sync directory", dir, source))
}

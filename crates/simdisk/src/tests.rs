//! Crash, fault and name rules of the simulated disk.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use disk::{BlockFile, Disk, LockKind, OpenMode};

use crate::SimDisk;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with `/d/f` holding `old` durably, and the file opened.
fn with_file(seed: u64) -> (SimDisk, Arc<dyn Disk>, Arc<dyn BlockFile>) {
    let sim = SimDisk::new(seed);
    let disk = sim.disk();
    disk.create_dir_all(path("/d")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    let file = disk.open(path("/d/f"), OpenMode::CreateNew).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    file.write_at(0, &[b'o'; 2048]).unwrap();
    file.sync_data().unwrap();
    (sim, disk, file)
}

fn content(disk: &Arc<dyn Disk>, name: &str) -> Vec<u8> {
    let file = disk.open(path(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn unsynced_write_kept_lost_or_torn_by_sector() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..60 {
        let (sim, disk, file) = with_file(seed);
        file.write_at(0, &[b'n'; 2048]).unwrap();
        sim.crash();
        let bytes = content(&disk, "/d/f");
        assert_eq!(bytes.len(), 2048);
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sector torn, seed {seed}");
        }
        let new = bytes.iter().filter(|byte| **byte == b'n').count();
        match new {
            2048 => kept += 1,
            0 => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 5 && lost > 5 && torn > 5, "{kept} {lost} {torn}");
}

#[test]
fn synced_bytes_survive_and_equal_seeds_agree() {
    for seed in 0..20 {
        let run = || {
            let (sim, disk, file) = with_file(seed);
            file.write_at(1000, b"synced").unwrap();
            file.sync_data().unwrap();
            file.write_at(5000, &[7; 3000]).unwrap();
            file.set_len(6000).unwrap();
            sim.crash();
            assert_eq!(&content(&disk, "/d/f")[1000..1006], b"synced");
            sim.snapshot_files()
        };
        assert_eq!(run(), run());
    }
}

#[test]
fn names_survive_as_prefix() {
    let mut seen = [0; 4];
    for seed in 0..80 {
        let (sim, disk, _file) = with_file(seed);
        disk.rename(path("/d/f"), path("/d/g")).unwrap();
        disk.open(path("/d/h"), OpenMode::CreateNew).unwrap();
        disk.remove_file(path("/d/g")).unwrap();
        sim.crash();
        let names = disk.list(path("/d")).unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let states: [&[&str]; 4] = [&["f"], &["g"], &["g", "h"], &["h"]];
        let state = states.iter().position(|state| *state == names).expect("a prefix");
        seen[state] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn move_between_directories_is_atomic() {
    for seed in 0..40 {
        let (sim, disk, _file) = with_file(seed);
        disk.create_dir_all(path("/e")).unwrap();
        disk.sync_dir(path("/")).unwrap();
        disk.rename(path("/d/f"), path("/e/f")).unwrap();
        if seed % 2 == 0 {
            disk.sync_dir(path("/d")).unwrap();
        }
        sim.crash();
        let (old, new) = (disk.exists(path("/d/f")).unwrap(), disk.exists(path("/e/f")).unwrap());
        assert!(old != new, "seed {seed}");
        assert!(new || seed % 2 == 1);
    }
}

#[test]
fn directory_rename_carries_its_files() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    disk.create_dir_all(path("/m/wal.tmp")).unwrap();
    disk.open(path("/m/wal.tmp/0.wal"), OpenMode::CreateNew).unwrap();
    disk.rename(path("/m/wal.tmp"), path("/m/wal")).unwrap();
    for dir in ["/", "/m", "/m/wal"] {
        disk.sync_dir(path(dir)).unwrap();
    }
    sim.crash();
    assert_eq!(disk.list(path("/m/wal")).unwrap(), ["0.wal"]);
    disk.remove_dir_all(path("/m")).unwrap();
    assert_eq!(disk.list(path("/")).unwrap(), Vec::<String>::new());
}

#[test]
fn crash_at_each_boundary_stops_everything_until_reboot() {
    let (sim, ..) = with_file(3);
    let total = sim.write_count();
    assert_eq!(total, 6);
    for n in 1..=total {
        let sim = SimDisk::new(n);
        sim.crash_at_write(n);
        let disk = sim.disk();
        let run = || {
            disk.create_dir_all(path("/d"))?;
            disk.sync_dir(path("/"))?;
            let file = disk.open(path("/d/f"), OpenMode::CreateNew)?;
            disk.sync_dir(path("/d"))?;
            file.write_at(0, b"x")?;
            file.sync_data()
        };
        assert!(run().is_err());
        assert_eq!(sim.write_count(), n);
        assert!(disk.exists(path("/d")).is_err());
        sim.crash();
        assert!(disk.exists(path("/")).unwrap());
        assert!(n < 3 || disk.exists(path("/d")).unwrap());
    }
}

#[test]
fn injected_faults() {
    let (sim, disk, file) = with_file(4);
    sim.fail_after_writes(1);
    file.write_at(0, b"1").unwrap();
    assert_eq!(file.write_at(0, b"2").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(9000).unwrap_err().kind(), ErrorKind::StorageFull);
    sim.fail_after_writes(u64::MAX);

    sim.set_space_limit(3000);
    assert_eq!(file.write_at(2048, &[9; 2048]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3000);
    file.write_at(0, b"fits").unwrap();
    sim.set_space_limit(u64::MAX);

    sim.fail_sync(true);
    assert!(file.sync_data().is_err());
    assert!(disk.sync_dir(path("/d")).is_err());
    sim.fail_sync(false);

    sim.fail_sync_once_after(1);
    let results = [file.sync_data(), file.sync_data(), file.sync_data()];
    assert_eq!(results.map(|result| result.is_ok()), [true, false, true]);
}

#[test]
fn failed_sync_may_lose_what_a_later_sync_acknowledges() {
    let mut lost = 0;
    for seed in 0..20 {
        let (sim, disk, file) = with_file(seed);
        file.write_at(0, b"stuck").unwrap();
        sim.fail_sync(true);
        assert!(file.sync_data().is_err());
        sim.fail_sync(false);
        file.sync_data().unwrap();
        sim.crash();
        lost += usize::from(!content(&disk, "/d/f").starts_with(b"stuck"));
    }
    assert!(lost > 3);
}

#[test]
fn locks_and_handles_end_with_the_boot() {
    let (sim, disk, file) = with_file(5);
    let other = disk.open(path("/d/f"), OpenMode::ReadWrite).unwrap();
    assert!(file.try_lock(LockKind::Flock).unwrap());
    assert!(!other.try_lock(LockKind::Flock).unwrap());
    assert!(other.try_lock(LockKind::Ofd).unwrap());
    drop(other);
    assert!(file.try_lock(LockKind::Ofd).unwrap());
    sim.crash();
    assert!(file.write_at(0, b"x").is_err());
    let fresh = disk.open(path("/d/f"), OpenMode::ReadWrite).unwrap();
    assert!(fresh.try_lock(LockKind::Flock).unwrap());
    drop(file);
    let rival = disk.open(path("/d/f"), OpenMode::ReadWrite).unwrap();
    assert!(!rival.try_lock(LockKind::Flock).unwrap());
}

#[test]
fn fork_is_independent() {
    let (sim, _disk, file) = with_file(6);
    let fork = sim.fork();
    file.write_at(0, b"after").unwrap();
    let fork_disk = fork.disk();
    assert!(content(&fork_disk, "/d/f").starts_with(b"ooo"));
    fork_disk.remove_file(path("/d/f")).unwrap();
    assert!(sim.snapshot_files().contains_key(path("/d/f")));
}

#[test]
fn removed_file_stays_readable_while_open() {
    let (_sim, disk, file) = with_file(7);
    disk.remove_file(path("/d/f")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    let mut buf = [0; 1];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 1);
    drop(file);
    disk.sync_dir(path("/d")).unwrap();
    assert!(!disk.exists(path("/d/f")).unwrap());
}

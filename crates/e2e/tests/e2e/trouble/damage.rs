//! Files of a data directory that are missing, cut off or changed.
//!
//! Invariants: a member either starts with everything that was acknowledged, or says which file is
//!             damaged and exits with 1. A page of the database that holds other bytes than were
//!             written has no checksum, in Go's format: there only the end counts.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::tempdir::copy_tree;
use e2e::{Exit, Spec, until};

use super::{Acknowledged, Place, assert_no_panic, assert_refused};

/// A start takes well under a second; a refusal too.
const PATIENCE: Duration = Duration::from_secs(40);

/// Bytes changed in each kind of file, one at a time.
const FLIPS: u64 = 15;

/// A server's data directory, ended by kill, with snapshots and a log behind them.
struct Sound {
    place: Place,
    spec: Spec,
    acknowledged: Acknowledged,
}

impl Sound {
    fn new(label: &str) -> Self {
        let place = Place::new(label);
        let spec =
            place.single("d").set("snapshot-count", "20").set("snapshot-catchup-entries", "5");
        let mut acknowledged = Acknowledged::default();
        let mut etcd = spec.start();
        acknowledged.write_some(etcd.client(), "early", 40);
        etcd.wait_log("saved snapshot", PATIENCE);
        acknowledged.write_some(etcd.client(), "late", 15);
        etcd.kill9();
        Self { place, spec, acknowledged }
    }

    /// A copy of the directory and the description of a server on it.
    fn copy(&self, label: &str) -> (PathBuf, Spec) {
        let copy = self.place.directory.join(format!("{label}.etcd"));
        copy_tree(&self.spec.data_dir(), &copy);
        let spec = self.spec.clone().set("data-dir", copy.to_string_lossy());
        (copy.join("member"), spec.log_file(self.place.directory.join(format!("{label}.log"))))
    }

    /// Starts a server that has to come up with everything, or to refuse.
    #[track_caller]
    fn assert_whole_or_refused(&self, label: &str, spec: &Spec) -> Outcome {
        let mut etcd = spec.spawn();
        let outcome = until(PATIENCE, || match etcd.exit() {
            Some(exit) => Some(Outcome::Ended(exit)),
            None => etcd.is_healthy().then_some(Outcome::Healthy),
        });
        let log = etcd.log();
        assert_no_panic(&log);
        match outcome {
            Some(Outcome::Healthy) => {
                self.acknowledged.assert_all_on(etcd.client());
                etcd.kill9();
                Outcome::Healthy
            }
            Some(Outcome::Ended(exit)) => {
                assert_eq!(exit, Exit::Code(1), "{label}: {log}");
                assert!(log.contains("\"level\":\"fatal\""), "{label}: {log}");
                Outcome::Ended(exit)
            }
            None => panic!("{label}: neither started nor ended\n{log}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Healthy,
    Ended(Exit),
}

#[test]
fn files_that_are_missing_or_cut_off() {
    let sound = Sound::new("missing");
    let refused = |label: &str, damage: &dyn Fn(&Path), text: &str| {
        let (member, spec) = sound.copy(label);
        damage(&member);
        let (exit, log) = spec.run_to_end(PATIENCE);
        assert_refused(exit, &log, text);
    };
    refused("no-db", &|member| remove(&member.join("snap/db")), "snap.db");
    refused("empty-db", &|member| cut(&member.join("snap/db"), 0), "snap.db");
    refused("short-db", &|member| cut(&member.join("snap/db"), 9000), "db");
    refused("no-wal", &|member| remove_all(&member.join("wal")), "consistent");
    refused("empty-wal", &|member| cut(&only(&member.join("wal"), "wal"), 0), ".wal");
    refused("short-wal", &|member| cut(&only(&member.join("wal"), "wal"), 300), "");
    refused("gap", &|member| second_segment(&member.join("wal"), 2), "wal");
}

#[test]
fn snapshot_files_that_are_damaged_or_missing() {
    let sound = Sound::new("snap");
    let (member, spec) = sound.copy("flipped");
    let newest = newest_snap(&member.join("snap"));
    flip(&newest, 40);
    sound.assert_whole_or_refused("flipped .snap", &spec);
    let broken = newest.with_extension("snap.broken");
    assert!(broken.exists() && !newest.exists(), "a damaged .snap is put aside");

    for keep in [0, 1] {
        let (member, spec) = sound.copy(&format!("keep-{keep}"));
        for snap in snaps(&member.join("snap")).into_iter().skip(keep) {
            remove(&snap);
        }
        sound.assert_whole_or_refused("missing .snap", &spec);
    }
}

#[test]
fn a_byte_of_the_log_that_changed() {
    let sound = Sound::new("wal-flip");
    let log = only(&sound.spec.data_dir().join("member/wal"), "wal");
    let written = written_bytes(&log);
    let mut refusals = 0_u64;
    for step in 0..FLIPS {
        let (member, spec) = sound.copy(&format!("flip-{step}"));
        let offset = 9 + (written - 10) * step / FLIPS;
        flip(&only(&member.join("wal"), "wal"), offset);
        let label = format!("byte {offset} of {written}");
        let outcome = sound.assert_whole_or_refused(&label, &spec);
        refusals += u64::from(outcome != Outcome::Healthy);
    }
    // Padding may change without harm, the rest may not.
    assert!(refusals * 3 > FLIPS * 2, "{refusals} of {FLIPS} refused");
}

#[test]
fn a_byte_of_the_database_that_changed() {
    let sound = Sound::new("db-flip");
    let size = std::fs::metadata(sound.spec.data_dir().join("member/snap/db")).expect("db").len();
    for step in 0..FLIPS {
        let (member, spec) = sound.copy(&format!("flip-{step}"));
        let offset = (size - 1) * step / (FLIPS - 1);
        flip(&member.join("snap/db"), offset);
        let mut etcd = spec.spawn();
        let ended = until(PATIENCE, || match etcd.exit() {
            Some(exit) => Some(Some(exit)),
            None => etcd.is_healthy().then_some(None),
        });
        let log = etcd.log();
        assert_no_panic(&log);
        let ended = ended.unwrap_or_else(|| panic!("byte {offset}: no start, no end\n{log}"));
        assert!(matches!(ended, None | Some(Exit::Code(1))), "byte {offset}: {ended:?}\n{log}");
    }
}

#[test]
fn one_damaged_meta_page_of_two() {
    let sound = Sound::new("meta");
    // Without the newer one the database is as of the commit before, which may be too old for the
    // newest `.snap`; without the older one nothing is amiss.
    let outcomes = [0, 1].map(|page| {
        let (member, spec) = sound.copy(&format!("meta-{page}"));
        flip(&member.join("snap/db"), page * 4096 + 40);
        sound.assert_whole_or_refused(&format!("meta page {page}"), &spec)
    });
    assert!(outcomes.contains(&Outcome::Healthy), "{outcomes:?}");
    let (member, spec) = sound.copy("both");
    flip(&member.join("snap/db"), 40);
    flip(&member.join("snap/db"), 4096 + 40);
    let (exit, log) = spec.run_to_end(PATIENCE);
    assert_refused(exit, &log, "snap/db");
}

/// Bytes of each value that fills the log.
const LARGE_BYTES: usize = 1_400_000;
/// Enough of them for three segments of 64 MB.
const LARGE_COUNT: usize = 100;

#[test]
fn segments_of_the_log_that_are_missing() {
    let place = Place::new("segments");
    let spec = place.single("d").set("unsafe-no-fsync", "true");
    let mut etcd = spec.start();
    let mut acknowledged = Acknowledged::default();
    for number in 0..LARGE_COUNT {
        // The same few keys, so that the database stays small.
        let value = format!("{number}-{}", "v".repeat(LARGE_BYTES));
        assert!(acknowledged.write(etcd.client(), &format!("3-{}", number % 4), &value));
    }
    assert_eq!(etcd.terminate(), Exit::Signal(15));
    let sound = Sound { place, spec, acknowledged };
    let segments = files(&sound.spec.data_dir().join("member/wal"), "wal");
    assert!(segments.len() >= 3, "{segments:?}");
    // First, middle, last: without any of them the log does not reach what the database holds.
    for missing in [0, 1, segments.len() - 1] {
        let name = segments[missing].file_name().expect("a name");
        let moved = sound.place.directory.join("moved.wal");
        std::fs::rename(&segments[missing], &moved).expect("move segment away");
        let (exit, log) = sound.spec.run_to_end(PATIENCE);
        assert_no_panic(&log);
        assert_eq!(exit, Exit::Code(1), "without {name:?}: {log}");
        std::fs::rename(&moved, &segments[missing]).expect("move segment back");
    }
    let etcd = sound.spec.start();
    sound.acknowledged.assert_all_on(etcd.client());
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("remove file");
}

fn remove_all(path: &Path) {
    std::fs::remove_dir_all(path).expect("remove directory");
}

fn cut(path: &Path, size: u64) {
    File::options().write(true).open(path).and_then(|file| file.set_len(size)).expect("cut file");
}

fn flip(path: &Path, offset: u64) {
    let mut file = File::options().read(true).write(true).open(path).expect("open file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.read_exact(&mut byte).expect("read byte");
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.write_all(&[byte[0] ^ 0x55]).expect("write byte");
}

/// Files with this extension, by name.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("read directory");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

fn only(directory: &Path, extension: &str) -> PathBuf {
    let mut found = files(directory, extension);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn snaps(directory: &Path) -> Vec<PathBuf> {
    files(directory, "snap")
}

fn newest_snap(directory: &Path) -> PathBuf {
    snaps(directory).pop().expect("a snapshot was saved")
}

/// A later segment whose predecessor is not there.
fn second_segment(directory: &Path, sequence: u64) {
    let copy = directory.join(format!("{sequence:016x}-00000000000000ff.wal"));
    std::fs::copy(only(directory, "wal"), copy).expect("copy segment");
}

/// Bytes of a segment up to the last one that is not zero.
fn written_bytes(path: &Path) -> u64 {
    let bytes = std::fs::read(path).expect("read segment");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("records");
    u64::try_from(last).expect("small")
}

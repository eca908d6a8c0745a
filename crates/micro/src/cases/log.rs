//! The write-ahead log in real files.

use proto::raftpb::{Entry, HardState};

use crate::case::Run;
use crate::folder::Folder;
use crate::input;
use crate::member::{self, Sync};

/// Entries in one group.
pub(super) const BATCH: u64 = 64;

pub(super) fn append() -> Run {
    appending(1, Sync::Never)
}

/// With the sync that every put waits for: of interest in time alone.
pub(super) fn append_sync() -> Run {
    appending(1, Sync::Always)
}

/// A group: what arrived while the one before was synced.
pub(super) fn append_batch() -> Run {
    appending(BATCH, Sync::Never)
}

fn appending(entries: u64, sync: Sync) -> Run {
    let folder = Folder::new();
    let mut wal = member::log(&folder, sync);
    let data = input::put(1, 1);
    let mut index = 0;
    Box::new(move || {
        // The folder lives as long as the run.
        let _ = folder.path();
        let group: Vec<Entry> = (1..=entries)
            .map(|number| Entry {
                term: 2,
                index: index + number,
                data: data.clone(),
                ..Entry::default()
            })
            .collect();
        index += entries;
        let hard_state = HardState { term: 2, vote: 1, commit: index };
        wal.append(&group, Some(&hard_state)).expect("append to log");
        wal.flush(sync == Sync::Always).expect("write log");
    })
}

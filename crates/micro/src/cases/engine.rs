//! The database file, without syncs: what a flush commits, and what a restart reads.

use std::hint::black_box;

use apply::{Machine, SnapshotBase};
use backend::{BoltEngine, Engine, Rows};
use node::ViewSource;
use types::Op;

use crate::case::Run;
use crate::folder::Folder;
use crate::input::{self, scattered};
use crate::member;

/// Rows of a flush.
pub(super) const ROWS: u64 = 10_000;
/// Rows of the database of a restart.
pub(super) const RESTART_ROWS: u64 = 20_000;
/// Flushes after which rows come again, so that the file stays small.
const FLUSHES: u64 = 4;

fn engine(folder: &Folder) -> BoltEngine {
    BoltEngine::open(&osdisk::OsDisk, &folder.path().join("db"), true).expect("open database")
}

fn put_rows(engine: &mut BoltEngine, rows: impl Iterator<Item = Op>) {
    let mut changes = Rows::default();
    rows.for_each(|row| changes.push(row));
    engine.commit(&changes.to_batch()).expect("commit");
}

/// A commit of new revisions behind those that are there.
pub(super) fn commit() -> Run {
    let folder = Folder::new();
    let mut engine = engine(&folder);
    let rows: Vec<Op> = (0..FLUSHES * ROWS).map(|turn| input::row(turn + 2, turn)).collect();
    let size = usize::try_from(ROWS).expect("a small number");
    let mut flushes = input::Turns::of(rows.chunks(size).map(<[Op]>::to_vec));
    Box::new(move || {
        // The folder lives as long as the run.
        let _ = folder.path();
        put_rows(&mut engine, flushes.next().iter().cloned());
    })
}

/// The walk over a database and the machine built of it.
pub(super) fn restart() -> Run {
    let folder = Folder::new();
    let mut first = engine(&folder);
    let rows = (0..RESTART_ROWS).map(|turn| input::row(turn + 2, scattered(turn, RESTART_ROWS)));
    put_rows(&mut first, rows);
    drop(first);
    Box::new(move || {
        let engine = engine(&folder);
        let view = engine.view();
        let base = SnapshotBase::default();
        let restored = Machine::restore(
            &ViewSource { view: view.as_ref(), threads: 1 },
            member::settings(),
            base,
        );
        let (machine, _) = restored.expect("a database of ours");
        assert_eq!(machine.store().index_len() as u64, RESTART_ROWS);
        black_box(machine);
    })
}

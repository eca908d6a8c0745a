//! Power loss at every boundary: what was synced is found again, and nothing else than a prefix.

use proptest::prelude::*;
use proto::raftpb::{Entry, HardState};
use simdisk::SimDisk;
use wal::{Options, Replay, Wal, WalError};

use crate::support::*;

/// One step of a member.
#[derive(Clone, Debug)]
enum Step {
    /// Appends entries of these sizes; a size over 1000 means zeros, to look like torn sectors.
    Append(Vec<usize>),
    /// Replaces the last entries in a new term.
    Replace(u64),
    /// Records a commit.
    Commit,
    Flush(bool),
    Snapshot,
}

/// One thing that was handed to the log, in order.
#[derive(Clone, Debug)]
enum Logged {
    Entry(Entry),
    State(HardState),
    Snapshot,
}

/// What the log must hold.
#[derive(Clone, Default)]
struct Model {
    logged: Vec<Logged>,
    /// How many of them a successful sync covered.
    synced: usize,
    term: u64,
    last_index: u64,
    commit: u64,
}

impl Model {
    fn state(&self) -> HardState {
        state(self.term, 1, self.commit)
    }

    fn next_entry(&mut self, size: usize) -> Entry {
        self.last_index += 1;
        let byte = if size > 1000 { 0 } else { 0x40 | u8::try_from(self.last_index % 32).unwrap() };
        entry(self.term, self.last_index, vec![byte; size])
    }

    /// The state after the first `count` things.
    fn after(&self, count: usize) -> (Vec<Entry>, HardState) {
        let (mut entries, mut hard_state) = (Vec::<Entry>::new(), HardState::default());
        for logged in &self.logged[..count] {
            match logged {
                Logged::Entry(entry) => {
                    entries.truncate(usize::try_from(entry.index - 1).unwrap());
                    entries.push(entry.clone());
                }
                Logged::State(state) => hard_state = *state,
                Logged::Snapshot => {}
            }
        }
        (entries, hard_state)
    }

    /// Continues from a recovered log: finds the prefix that it is.
    fn recover(&mut self, replay: &Replay) -> Result<(), String> {
        let matches = |count: &usize| {
            let (entries, hard_state) = self.after(*count);
            entries == replay.entries && hard_state == replay.hard_state
        };
        let count = (self.synced..=self.logged.len()).rev().find(matches);
        let Some(count) = count else {
            let (entries, synced) = self.after(self.synced);
            return Err(format!(
                "recovered {} entries and {:?}; synced were {} and {synced:?}",
                replay.entries.len(),
                replay.hard_state,
                entries.len(),
            ));
        };
        self.logged.truncate(count);
        self.synced = count;
        self.last_index = replay.entries.len() as u64;
        self.commit = replay.hard_state.commit.min(self.last_index);
        Ok(())
    }
}

fn run(wal: &mut Wal, model: &mut Model, step: &Step) -> Result<(), WalError> {
    match step {
        Step::Append(sizes) => {
            let entries: Vec<_> = sizes.iter().map(|size| model.next_entry(*size)).collect();
            append(wal, model, entries)
        }
        Step::Replace(count) => {
            model.term += 1;
            model.last_index = model.last_index.saturating_sub(*count).max(model.commit);
            let entries = vec![model.next_entry(20)];
            append(wal, model, entries)
        }
        Step::Commit => {
            model.commit = model.last_index;
            append(wal, model, Vec::new())
        }
        Step::Flush(sync) => {
            wal.flush(*sync)?;
            if *sync {
                model.synced = model.logged.len();
            }
            Ok(())
        }
        // The log starts with the snapshot 0 of term 0.
        Step::Snapshot if model.commit == 0 => Ok(()),
        Step::Snapshot => {
            model.logged.push(Logged::Snapshot);
            wal.save_snapshot(&snapshot(model.commit, 1))?;
            model.synced = model.logged.len();
            Ok(())
        }
    }
}

fn append(wal: &mut Wal, model: &mut Model, entries: Vec<Entry>) -> Result<(), WalError> {
    let state = model.state();
    wal.append(&entries, Some(&state))?;
    model.logged.extend(entries.into_iter().map(Logged::Entry));
    model.logged.push(Logged::State(state));
    Ok(())
}

fn any_step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0_usize..300, 1 => 500_usize..1800];
    prop_oneof![
        6 => prop::collection::vec(size, 1..4).prop_map(Step::Append),
        1 => (0_u64..4).prop_map(Step::Replace),
        2 => Just(Step::Commit),
        4 => Just(Step::Flush(true)),
        2 => Just(Step::Flush(false)),
        1 => Just(Step::Snapshot),
    ]
}

/// Runs all steps with the power going off at boundary `crash_at`, boots, checks; then again with
/// the rest, so that the second boot reads a log which the first one repaired.
fn check(seed: u64, steps: &[Step], crash_at: u64, options: Options) -> Result<(), String> {
    let sim = fresh(seed);
    let mut wal = create(&sim, options);
    let mut model = Model { term: 1, ..Model::default() };
    sim.crash_at_write(sim.write_count() + crash_at);
    for step in steps {
        if run(&mut wal, &mut model, step).is_ok() {
            continue;
        }
        let replay;
        (wal, replay) = reboot(&sim, options)?;
        model.recover(&replay)?;
        sim.crash_at_write(sim.write_count() + crash_at);
    }
    drop(wal);
    let (_, replay) = reboot(&sim, options)?;
    model.recover(&replay)
}

/// Opens after a power loss, and once more after a power loss while opening.
fn reboot(sim: &SimDisk, options: Options) -> Result<(Wal, Replay), String> {
    sim.crash();
    for boundary in [1, 2, 3] {
        sim.crash_at_write(sim.write_count() + boundary);
        drop(open(sim, options));
        sim.crash();
    }
    open(sim, options).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn synced_records_survive_power_loss(
        seed in any::<u64>(),
        steps in prop::collection::vec(any_step(), 1..25),
        crash_at in 1_u64..30,
        segment_bytes in prop::sample::select(vec![600_u64, 2048, 8192, 100_000]),
    ) {
        let options = Options { segment_bytes, no_sync: false };
        check(seed, &steps, crash_at, options).map_err(TestCaseError::fail)?;
    }
}

/// A fixed script with every boundary in turn and several outcomes each.
#[test]
fn every_boundary_of_a_script_is_survived() {
    use Step::{Append, Commit, Flush, Replace, Snapshot};
    let steps = [
        Append(vec![100, 200, 1500]),
        Flush(true),
        Append(vec![30; 8]),
        Commit,
        Flush(false),
        Append(vec![1100, 700]),
        Flush(true),
        Snapshot,
        Append(vec![10]),
        Flush(false),
        Replace(2),
        Append(vec![900, 900]),
        Flush(true),
        Commit,
        Flush(true),
    ];
    for crash_at in 1..45 {
        for seed in 0..8 {
            check(seed, &steps, crash_at, SMALL)
                .unwrap_or_else(|text| panic!("boundary {crash_at}, seed {seed}: {text}"));
        }
    }
}

/// Creation is all or nothing.
#[test]
fn every_boundary_of_creation_is_survived() {
    for crash_at in 1..12 {
        for seed in 0..16 {
            let sim = fresh(seed);
            sim.crash_at_write(sim.write_count() + crash_at);
            let created = Wal::create(sim.disk(), dir(), METADATA, SMALL).is_ok();
            sim.crash();
            if Wal::exists(&*sim.disk(), dir()).unwrap() {
                let (_, replay) = open(&sim, SMALL).unwrap();
                assert_eq!(replay.metadata, METADATA);
            } else {
                assert!(!created);
                drop(create(&sim, SMALL));
            }
        }
    }
}

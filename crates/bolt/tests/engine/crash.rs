//! The power goes at every write boundary.

use std::sync::Arc;

use crate::common::{Model, Shape, apply, assert_checked, db_path, random_batch, read_all};
use bolt::{Bolt, BoltError};
use disk::Disk;
use rand::SeedableRng;
use rand::rngs::StdRng;
use simdisk::SimDisk;

const COMMITS: usize = 14;

/// Result of a run that may have been cut short.
struct Run {
    /// All commits that returned.
    acknowledged: Model,
    /// The commit under way at the cut, if there was one.
    in_flight: Option<Model>,
}

/// Opens and commits until something fails. Every third commit is followed by a shrink step.
fn drive(disk: &Arc<dyn Disk>, model: Model, seed: u64, shape: Shape) -> Run {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut acknowledged = model;
    let Ok(mut bolt) = Bolt::create_or_open(&**disk, db_path(), shape.options()) else {
        return Run { acknowledged, in_flight: None };
    };
    for commit in 0..COMMITS {
        let batch = random_batch(&mut rng, &acknowledged, shape);
        let mut next = acknowledged.clone();
        apply(&mut next, &batch);
        if bolt.commit(&batch).is_err() {
            assert!(matches!(bolt.commit(&batch), Err(BoltError::Failed)));
            assert!(matches!(bolt.shrink_step(1), Err(BoltError::Failed)));
            return Run { acknowledged, in_flight: Some(next) };
        }
        acknowledged = next;
        if commit % 3 == 2 && bolt.shrink_step(8).is_err() {
            break;
        }
    }
    Run { acknowledged, in_flight: None }
}

/// After a crash the state is the acknowledged one or the one in flight.
fn recover(sim: &SimDisk, run: &Run, shape: Shape, what: &str) -> Model {
    sim.crash();
    let disk = sim.disk();
    let bolt = Bolt::create_or_open(&*disk, db_path(), shape.options())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = read_all(&bolt.view());
    let expected = found == run.acknowledged || run.in_flight.as_ref() == Some(&found);
    assert!(expected, "{what}: neither the last nor the next state");
    assert_checked(&disk, &found, what);
    found
}

fn sweep(seed: u64, shape: Shape) {
    let whole = SimDisk::new(seed);
    drive(&whole.disk(), Model::new(), seed, shape);
    let boundaries = whole.write_count();
    assert!(boundaries > 60);
    let mut in_flight_kept = 0;
    for n in 1..=boundaries {
        let what = format!("seed {seed} boundary {n}");
        let sim = SimDisk::new(seed * 1000 + n);
        sim.crash_at_write(n);
        let run = drive(&sim.disk(), Model::new(), seed, shape);
        for outcome in 0..3 {
            let fork = sim.fork();
            fork.reseed(n * 31 + outcome);
            let found = recover(&fork, &run, shape, &format!("{what} outcome {outcome}"));
            in_flight_kept += usize::from(found != run.acknowledged);
            // Life goes on, and the next crash comes soon after the first.
            fork.crash_at_write(fork.write_count() + 1 + (n * 7 + outcome * 3) % 12);
            let again = drive(&fork.disk(), found, seed + n, shape);
            recover(&fork, &again, shape, &format!("{what} outcome {outcome}, second crash"));
        }
    }
    assert!(in_flight_kept > 0, "some commits in flight survive");
}

#[test]
fn every_boundary_small_pages() {
    for seed in 0..6 {
        sweep(seed, Shape { ops_max: 25, keys: 120, ..Shape::small() });
    }
}

#[test]
fn every_boundary_usual_pages() {
    for seed in 10..12 {
        sweep(seed, Shape { page_size: 4096, keys: 400, ..Shape::small() });
    }
}

#[test]
fn full_disk_fails_the_engine_and_keeps_the_state() {
    for seed in 0..10 {
        let sim = SimDisk::new(seed);
        sim.set_space_limit(200_000);
        let shape = Shape { ops_max: 200, keys: 100_000, value_bytes_max: 400, ..Shape::small() };
        let run = drive(&sim.disk(), Model::new(), seed, shape);
        assert!(run.in_flight.is_some());
        sim.set_space_limit(u64::MAX);
        recover(&sim, &run, shape, "full disk");
    }
}

#[test]
fn failed_sync_fails_the_engine() {
    for seed in 0..10 {
        let sim = SimDisk::new(seed);
        let shape = Shape::small();
        let first = drive(&sim.disk(), Model::new(), seed, shape);
        let disk = sim.disk();
        let mut bolt = Bolt::create_or_open(&*disk, db_path(), shape.options()).unwrap();
        let mut rng = StdRng::seed_from_u64(seed + 77);
        let batch = random_batch(&mut rng, &first.acknowledged, shape);
        let mut next = first.acknowledged.clone();
        apply(&mut next, &batch);
        sim.fail_sync(true);
        let committed = bolt.commit(&batch);
        sim.fail_sync(false);
        if next != first.acknowledged {
            assert!(matches!(committed, Err(BoltError::Io { .. })));
            assert!(matches!(bolt.commit(&batch), Err(BoltError::Failed)));
        }
        let run = Run { acknowledged: first.acknowledged, in_flight: Some(next) };
        recover(&sim, &run, shape, &format!("failed sync, seed {seed}"));
    }
}

/// The process, not the machine, dies between a meta and its sync; the next process goes on with
/// the meta it sees, and then the power goes.
#[test]
fn process_death_then_power_cut() {
    let shape = Shape { ops_max: 25, keys: 120, ..Shape::small() };
    for seed in 0..40 {
        let sim = SimDisk::new(seed);
        let first = drive(&sim.disk(), Model::new(), seed, shape);
        sim.crash_at_write(sim.write_count() + 1 + seed % 9);
        let second = drive(&sim.disk(), first.acknowledged.clone(), seed + 1, shape);
        // A fork keeps what was written and not synced, as the page cache does.
        let alive = sim.fork();
        alive.crash_at_write(alive.write_count() + 1 + seed % 7);
        let disk = alive.disk();
        let seen = match Bolt::create_or_open(&*disk, db_path(), shape.options()) {
            Ok(bolt) => read_all(&bolt.view()),
            Err(_) => continue,
        };
        let expected = seen == second.acknowledged || second.in_flight.as_ref() == Some(&seen);
        assert!(expected, "seed {seed}");
        let third = drive(&disk, seen, seed + 2, shape);
        recover(&alive, &third, shape, &format!("seed {seed}"));
    }
}

/// The sync of a meta fails, so that no later sync makes it durable; the next process sees that
/// meta, goes on from it, and then the power goes. The state before it must still be whole, since
/// it may be the one that comes back.
#[test]
fn failed_meta_sync_then_power_cut() {
    let shape = Shape { ops_max: 25, keys: 120, ..Shape::small() };
    let mut went_back = 0;
    for seed in 0..120 {
        let sim = SimDisk::new(seed);
        let disk = sim.disk();
        let first = drive(&disk, Model::new(), seed, shape).acknowledged;
        let mut rng = StdRng::seed_from_u64(seed + 1);
        let batch = random_batch(&mut rng, &first, shape);
        let mut second = first.clone();
        apply(&mut second, &batch);
        let mut bolt = Bolt::create_or_open(&*disk, db_path(), shape.options()).unwrap();
        sim.fail_sync_once_after(1);
        if bolt.commit(&batch).is_ok() {
            continue;
        }
        drop(bolt);
        sim.crash_at_write(sim.write_count() + 2 + seed % 6);
        let third = drive(&disk, second.clone(), seed + 2, shape);
        sim.crash();
        let bolt = Bolt::create_or_open(&*disk, db_path(), shape.options())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = read_all(&bolt.view());
        let known = [Some(&first), Some(&second), Some(&third.acknowledged)];
        let known = known.into_iter().chain([third.in_flight.as_ref()]).flatten();
        assert!(known.into_iter().any(|model| *model == found), "seed {seed}");
        assert_checked(&disk, &found, "failed meta sync");
        went_back += usize::from(found == first);
    }
    assert!(went_back > 0, "some runs lose the meta");
}

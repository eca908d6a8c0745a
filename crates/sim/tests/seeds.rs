//! Runs of seeds that must hold every invariant, in as many tests as there are cores to use.
//!
//! More of them: `cargo xtask sim --seeds N --from S`.

use sim::{Config, Outcome, Shape, run};

/// Runs seeds and returns what they saw together; panics with the replay of the first failure.
fn check(shape: Shape, seeds: std::ops::Range<u64>) -> Outcome {
    let mut total: Option<Outcome> = None;
    for seed in seeds {
        let outcome = match run(&Config::new(seed, shape)) {
            Ok(outcome) => outcome,
            Err(failure) => panic!("{failure}"),
        };
        total = Some(match total {
            None => outcome,
            Some(total) => Outcome {
                trace: total.trace ^ outcome.trace,
                events: total.events + outcome.events,
                committed: total.committed + outcome.committed,
                answered: total.answered + outcome.answered,
                crashes: total.crashes + outcome.crashes,
                ahead: total.ahead + outcome.ahead,
                checkpoints: total.checkpoints + outcome.checkpoints,
                installs: total.installs + outcome.installs,
                added: total.added + outcome.added,
                told: total.told + outcome.told,
                resumed: total.resumed + outcome.resumed,
                gaps: total.gaps + outcome.gaps,
                progressed: total.progressed + outcome.progressed,
                renewals: total.renewals + outcome.renewals,
                expired: total.expired + outcome.expired,
                v2_told: total.v2_told + outcome.v2_told,
                lines: Vec::new(),
            },
        });
    }
    total.expect("at least one seed")
}

#[test]
fn any_cluster_first_hundred() {
    let total = check(Shape::Any, 0..100);
    // Seeds that exercise nothing would hold everything, too.
    assert!(total.answered > 10_000 && total.crashes > 500, "{total:?}");
    assert!(total.checkpoints > 500 && total.installs > 20 && total.added > 20, "{total:?}");
    assert!(total.ahead > 5, "{total:?}");
    assert!(total.told > 10_000 && total.resumed > 1_000, "{total:?}");
    assert!(total.renewals > 1_000 && total.expired > 300, "{total:?}");
    assert!(total.v2_told > 2_000, "{total:?}");
    assert!(total.gaps > 50 && total.progressed > 1_000, "{total:?}");
}

#[test]
fn any_cluster_second_hundred() {
    check(Shape::Any, 100..200);
}

#[test]
fn members_come_and_go() {
    let total = check(Shape::Changing, 1_000..1_060);
    assert!(total.added > 30, "{total:?}");
}

#[test]
fn single_members_keep_what_they_acknowledged() {
    check(Shape::Single, 2_000..2_060);
}

//! Runs simulations from the command line; `cargo xtask sim` calls it.
//!
//! Owns:       the process's streams and exit code.
//! Uses:       the `sim` library.
//! Never:      decides anything about a run.
//! Invariants: a failure is printed with the one line that replays it.
//! Source:     docs/simulation.md.

use std::process::ExitCode;

use sim::{Config, Failure, Outcome, Plant, Shape, run};

const USAGE: &str =
    "usage: sim [--seeds N] [--from S] [--seed S] [--shape any|single|three|changing]
           [--plant early-ack|forgotten-vote|skipped-apply|early-cut
            |lost-event|early-progress|early-revoke|duplicate-v2] [--outside-only] [--trace]";

struct Order {
    from: u64,
    seeds: u64,
    shape: Shape,
    plant: Option<Plant>,
    outside_only: bool,
    trace: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(order) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut total = Total::default();
    let mut failed = 0_u64;
    for seed in order.from..order.from.saturating_add(order.seeds) {
        let config = Config {
            plant: order.plant,
            outside_only: order.outside_only,
            verbose: order.trace,
            ..Config::new(seed, order.shape)
        };
        match run(&config) {
            Ok(outcome) => total.add(&outcome, order.trace),
            Err(failure) => {
                failed += 1;
                report(&failure);
            }
        }
    }
    println!("{} of {} seeds failed; {total:?}", failed, order.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(failure: &Failure) {
    println!("{failure}");
}

/// What the runs saw together.
#[derive(Debug, Default)]
struct Total {
    events: u64,
    committed: u64,
    answered: u64,
    crashes: u64,
    ahead: u64,
    checkpoints: u64,
    installs: u64,
    added: u64,
    told: u64,
    resumed: u64,
    gaps: u64,
    progressed: u64,
    renewals: u64,
    expired: u64,
    v2_told: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome, trace: bool) {
        if trace {
            outcome.lines.iter().for_each(|line| println!("{line}"));
            println!("trace {:016x}", outcome.trace);
        }
        self.events += outcome.events;
        self.committed += outcome.committed;
        self.answered += outcome.answered;
        self.crashes += outcome.crashes;
        self.ahead += outcome.ahead;
        self.checkpoints += outcome.checkpoints;
        self.installs += outcome.installs;
        self.added += outcome.added;
        self.told += outcome.told;
        self.resumed += outcome.resumed;
        self.gaps += outcome.gaps;
        self.progressed += outcome.progressed;
        self.renewals += outcome.renewals;
        self.expired += outcome.expired;
        self.v2_told += outcome.v2_told;
    }
}

fn parse(arguments: &[String]) -> Option<Order> {
    let mut order = Order {
        from: 0,
        seeds: 100,
        shape: Shape::Any,
        plant: None,
        outside_only: false,
        trace: false,
    };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--seeds" => order.seeds = words.next()?.parse().ok()?,
            "--from" => order.from = words.next()?.parse().ok()?,
            "--seed" => (order.from, order.seeds) = (words.next()?.parse().ok()?, 1),
            "--shape" => order.shape = named(&Shape::ALL, words.next()?)?,
            "--plant" => order.plant = Some(named(&Plant::ALL, words.next()?)?),
            "--outside-only" => order.outside_only = true,
            "--trace" => order.trace = true,
            _ => return None,
        }
    }
    Some(order)
}

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

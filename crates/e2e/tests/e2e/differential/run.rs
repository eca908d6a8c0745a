//! One seed: the same operations to all servers at once, ours compared with each of Go's.

use std::fmt::{Display, Write as _};
use std::thread;

use super::accepted::Accepted;
use super::reply::{Difference, Reply};

/// Reports before a run gives up: what follows a difference is often only its consequence.
const REPORTS_MAX: usize = 12;

/// One server under comparison, with its connections.
pub(super) trait Side: Send {
    /// What is done to it.
    type Operation: Display + Sync;

    /// Does it and waits for all that it brings about.
    fn run(&mut self, operation: &Self::Operation) -> Reply;
}

/// Where operations come from.
pub(super) trait Generator {
    /// What it makes.
    type Operation;

    /// The next one.
    fn next(&mut self) -> Self::Operation;

    /// What came of it on the first server: later operations name revisions and indexes that exist.
    fn learn(&mut self, operation: &Self::Operation, reply: &Reply);
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// `v2` or `v3`.
    pub(super) api: &'static str,
    pub(super) seed: u64,
    pub(super) operations: u32,
    /// Whether every reply is printed.
    pub(super) is_traced: bool,
}

/// Runs a plan; the last side is ours. Returns the reports of differences nobody allowed.
pub(super) fn run<S: Side, G: Generator<Operation = S::Operation>>(
    plan: Plan,
    sides: &mut [(&str, S)],
    generator: &mut G,
    accepted: &mut Accepted,
) -> Vec<String> {
    let mut reports = Vec::new();
    for number in 1..=plan.operations {
        let operation = generator.next();
        let replies = all(sides, &operation);
        if plan.is_traced {
            eprintln!("operation {number}: {operation}");
            for ((server, _), reply) in sides.iter().zip(&replies) {
                eprintln!("    {server}:\n{reply}");
            }
        }
        generator.learn(&operation, &replies[0]);
        let (ours, theirs) = replies.split_last().expect("at least one side");
        for ((server, _), go) in sides.iter().zip(theirs) {
            let text = operation.to_string();
            let mut differences = go.differences(ours);
            differences.retain(|difference| !accepted.allows(server, &text, difference));
            if !differences.is_empty() {
                reports.push(report(plan, number, server, &text, &differences, [go, ours]));
            }
        }
        if reports.len() >= REPORTS_MAX {
            break;
        }
    }
    reports
}

/// The replies of all sides, asked at the same time.
fn all<S: Side>(sides: &mut [(&str, S)], operation: &S::Operation) -> Vec<Reply> {
    thread::scope(|scope| {
        let asked: Vec<_> =
            sides.iter_mut().map(|(_, side)| scope.spawn(move || side.run(operation))).collect();
        asked.into_iter().map(|side| side.join().expect("the side answers")).collect()
    })
}

fn report(
    plan: Plan,
    number: u32,
    server: &str,
    operation: &str,
    differences: &[Difference],
    [go, ours]: [&Reply; 2],
) -> String {
    let Plan { api, seed, .. } = plan;
    let mut text = format!("seed {seed}, operation {number}, against {server}: {operation}\n");
    for Difference { field, go, ours } in differences {
        let _ = writeln!(text, "  {field}\n    Go:   {go}\n    ours: {ours}");
    }
    let _ = writeln!(text, "    Go's reply:\n{go}    our reply:\n{ours}");
    let _ = writeln!(
        text,
        "  replay: ETCH_DIFFERENTIAL_SEED={seed} ETCH_DIFFERENTIAL_OPERATIONS={number} \
         cargo test -p e2e --features e2e/real --test e2e -- differential::{api}_"
    );
    text
}

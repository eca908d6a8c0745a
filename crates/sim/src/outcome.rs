//! How a run ends.

use std::fmt;

use crate::Config;

/// A run that held everything it had to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Fingerprint of everything that happened, in order.
    pub trace: u64,
    /// Events carried out.
    pub events: u64,
    /// Distinct entries committed.
    pub committed: u64,
    /// Requests that clients saw answered.
    pub answered: u64,
    /// Crashes of all kinds.
    pub crashes: u64,
    /// Starts with a database that was ahead of the commit index on disk.
    pub ahead: u64,
    /// Checkpoints whose log record became durable.
    pub checkpoints: u64,
    /// Snapshots installed from a leader.
    pub installs: u64,
    /// Members added.
    pub added: u64,
    /// Events that watchers were told of.
    pub told: u64,
    /// Streams of watchers opened, nearly all of them to go on with lost ones.
    pub resumed: u64,
    /// Times that a watcher was told that what it needs is compacted.
    pub gaps: u64,
    /// Times that a watcher was told how far it is.
    pub progressed: u64,
    /// Leases kept alive.
    pub renewals: u64,
    /// Leases revoked because of time.
    pub expired: u64,
    /// Events that v2 watchers were told of.
    pub v2_told: u64,
    /// The trace in words, if it was asked for.
    pub lines: Vec<String>,
}

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    /// Which invariant was broken.
    pub invariant: &'static str,
    /// How.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub config: Box<Config>,
    /// What was broken.
    pub violation: Violation,
    /// Virtual time in microseconds.
    pub at_us: u64,
    /// The end of the trace in words, if it was kept.
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, violation, at_us, lines } = self;
        for line in lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} at {at_us} us: {violation}", config.seed)?;
        write!(f, "replay: {}", config.replay_command())
    }
}

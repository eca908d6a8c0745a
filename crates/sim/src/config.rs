//! What one run is made of, drawn from its seed.
//!
//! Owns:       the ranges that seeds are drawn from.
//! Uses:       `rand`.
//! Never:      state of a run.
//! Invariants: a seed and a shape define the run completely.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A bug put into the execution of effects, to show that the oracles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A write is reported durable, and what waits for it is sent, before the sync.
    EarlyAck,
    /// Term and vote are not written.
    ForgottenVote,
    /// Now and then a committed entry takes no effect on one member.
    SkippedApply,
    /// A checkpoint does not wait for the database commit before it cuts the log.
    EarlyCut,
    /// Watchers that catch up are served from the database alone, without what waits to be flushed.
    LostEvent,
    /// Progress of a stream is told while one of its watchers is behind.
    EarlyProgress,
    /// A new leader counts the time of leases from its start instead of its election.
    EarlyRevoke,
    /// Now and then watchers are told of a v2 event twice.
    DuplicateV2,
}

impl Plant {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("early-ack", Self::EarlyAck),
        ("forgotten-vote", Self::ForgottenVote),
        ("skipped-apply", Self::SkippedApply),
        ("early-cut", Self::EarlyCut),
        ("lost-event", Self::LostEvent),
        ("early-progress", Self::EarlyProgress),
        ("early-revoke", Self::EarlyRevoke),
        ("duplicate-v2", Self::DuplicateV2),
    ];
}

/// Which kind of cluster a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One, three or five members, with or without membership changes, as the seed says.
    Any,
    /// One member that is never joined by others.
    Single,
    /// Three members.
    Three,
    /// Three members of which some are replaced all the time.
    Changing,
}

impl Shape {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("any", Self::Any),
        ("single", Self::Single),
        ("three", Self::Three),
        ("changing", Self::Changing),
    ];
}

/// Faults of the network, in parts per thousand of messages, and delays in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Messages lost.
    pub loss: u32,
    /// Messages that arrive twice.
    pub duplicate: u32,
    /// Messages that take up to fifty times as long as usual, which reorders them.
    pub late: u32,
    /// Usual delay, at most.
    pub delay_us: u64,
}

/// Mean times between faults, in virtual milliseconds; 0 switches one off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultConfig {
    /// Between crashes of a member, of all kinds.
    pub crash_ms: u64,
    /// Between changes of the partition.
    pub partition_ms: u64,
    /// Between failures of a disk.
    pub disk_ms: u64,
    /// Between orders to hand over the leadership.
    pub transfer_ms: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What everything else and all that happens is drawn from.
    pub seed: u64,
    /// The kind of cluster asked for.
    pub shape: Shape,
    /// Founding members.
    pub members: usize,
    /// Whether members come and go.
    pub membership: bool,
    /// Pre-vote.
    pub pre_vote: bool,
    /// One tick in microseconds.
    pub tick_us: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Applied entries between two checkpoints.
    pub snapshot_count: u64,
    /// Entries kept in memory behind one.
    pub catchup_entries: u64,
    /// Target size of a log segment.
    pub segment_bytes: u64,
    /// Longest time of one write and one sync of the log, in microseconds.
    pub sync_us: u64,
    /// Longest time between two database commits, in microseconds.
    pub flush_us: u64,
    /// Clients at work.
    pub clients: usize,
    /// Longest pause of a client between two requests, in microseconds.
    pub think_us: u64,
    /// The network while faults last.
    pub network: NetworkConfig,
    /// The rest of the faults.
    pub faults: FaultConfig,
    /// Virtual time under faults, in microseconds.
    pub safety_us: u64,
    /// The bug to plant.
    pub plant: Option<Plant>,
    /// Judge only by what clients and other members can see, not by looking into the members: for
    /// showing that a planted bug has visible consequences.
    pub outside_only: bool,
    /// Keep the trace in words.
    pub verbose: bool,
}

impl Config {
    /// The run of a seed.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed ^ 0x51b0_u64.rotate_left(40));
        let members = match shape {
            Shape::Any => [1, 3, 3, 3, 5][rng.random_range(0..5)],
            Shape::Single => 1,
            Shape::Three | Shape::Changing => 3,
        };
        let membership = match shape {
            Shape::Any => rng.random_bool(0.5),
            Shape::Single | Shape::Three => false,
            Shape::Changing => true,
        };
        Self {
            seed,
            shape,
            members,
            membership,
            pre_vote: rng.random_bool(0.7),
            tick_us: rng.random_range(10_000..=30_000),
            election_ticks: rng.random_range(5..=10),
            snapshot_count: rng.random_range(5..=60),
            catchup_entries: rng.random_range(0..=20),
            segment_bytes: [4 << 10, 16 << 10, 64 << 10][rng.random_range(0..3)],
            sync_us: [500, 5_000, 40_000][rng.random_range(0..3)],
            flush_us: [10_000, 100_000, 500_000][rng.random_range(0..3)],
            clients: rng.random_range(2..=5),
            think_us: [5_000, 50_000][rng.random_range(0..2)],
            network: network(rng),
            faults: faults(rng),
            safety_us: rng.random_range(3_000_000..=8_000_000),
            plant: None,
            outside_only: false,
            verbose: false,
        }
    }

    /// The same run with a bug.
    #[must_use]
    pub fn with_plant(self, plant: Plant) -> Self {
        Self { plant: Some(plant), ..self }
    }

    /// The command that runs this again and prints its trace.
    #[must_use]
    pub fn replay_command(&self) -> String {
        let mut command = format!("cargo xtask sim --seed {} --trace", self.seed);
        for (name, shape) in Shape::ALL {
            if shape == self.shape && shape != Shape::Any {
                command += &format!(" --shape {name}");
            }
        }
        for (name, plant) in Plant::ALL {
            if self.plant == Some(plant) {
                command += &format!(" --plant {name}");
            }
        }
        if self.outside_only {
            command += " --outside-only";
        }
        command
    }
}

fn network(rng: &mut StdRng) -> NetworkConfig {
    NetworkConfig {
        loss: [0, 10, 100][rng.random_range(0..3)],
        duplicate: [0, 20, 100][rng.random_range(0..3)],
        late: [0, 20, 200][rng.random_range(0..3)],
        delay_us: [300, 2_000, 10_000][rng.random_range(0..3)],
    }
}

fn faults(rng: &mut StdRng) -> FaultConfig {
    FaultConfig {
        crash_ms: [0, 200, 600, 2_000][rng.random_range(0..4)],
        partition_ms: [0, 300, 1_000][rng.random_range(0..3)],
        disk_ms: [0, 0, 2_000][rng.random_range(0..3)],
        transfer_ms: [0, 0, 1_000][rng.random_range(0..3)],
    }
}

//! The names of the loads, and what they ask of options.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::options::{Distribution, Length, Options};

/// Puts of one transaction of the load `fill`, below etcd's limit of 128.
pub(super) const FILL_PUTS: u64 = 100;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Keys put once each, many per transaction: not measured, a way to have them fast.
    Fill,
    /// Put.
    Put,
    /// Put of a pair with a lease.
    PutLease,
    /// Linearizable get.
    Get,
    /// Serializable get.
    GetSerializable,
    /// A range of `limit` neighbours.
    Range,
    /// The first `limit` pairs of all.
    Page,
    /// As `range`, without values.
    KeysOnly,
    /// The number of all keys.
    CountOnly,
    /// Three compares that hold, and a put.
    Txn,
    /// Deletes of keys that are there, until none is left.
    Delete,
    /// 90 % linearizable gets, 10 % puts.
    Mixed,
    /// One key with all watchers.
    WatchOne,
    /// A key for each watcher.
    WatchMany,
    /// Watchers that start in the past.
    WatchCatchUp,
    /// Keep-alives of leases.
    Keepalive,
    /// v2 set.
    V2Set,
    /// v2 get.
    V2Get,
    /// v2 get with `quorum=true`.
    V2QuorumGet,
    /// Long polls of one v2 key.
    V2Watch,
}

/// All, with their names.
pub(super) const ALL: [(Kind, &str); 20] = [
    (Kind::Fill, "fill"),
    (Kind::Put, "put"),
    (Kind::PutLease, "put-lease"),
    (Kind::Get, "get"),
    (Kind::GetSerializable, "get-serializable"),
    (Kind::Range, "range"),
    (Kind::Page, "page"),
    (Kind::KeysOnly, "keys-only"),
    (Kind::CountOnly, "count-only"),
    (Kind::Txn, "txn"),
    (Kind::Delete, "delete"),
    (Kind::Mixed, "mixed"),
    (Kind::WatchOne, "watch-one"),
    (Kind::WatchMany, "watch-many"),
    (Kind::WatchCatchUp, "watch-catch-up"),
    (Kind::Keepalive, "keepalive"),
    (Kind::V2Set, "v2-set"),
    (Kind::V2Get, "v2-get"),
    (Kind::V2QuorumGet, "v2-quorum-get"),
    (Kind::V2Watch, "v2-watch"),
];

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match ALL.iter().find(|(_, name)| *name == text) {
            Some((kind, _)) => Ok(*kind),
            None => bail!("no load is named {text:?}\n{}", super::options::USAGE),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(kind, _)| kind == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

impl Kind {
    /// Whether it speaks v2, over HTTP/1.1.
    #[must_use]
    pub fn is_v2(self) -> bool {
        matches!(self, Self::V2Set | Self::V2Get | Self::V2QuorumGet | Self::V2Watch)
    }

    /// Whether watchers receive what is written meanwhile.
    #[must_use]
    pub fn is_fan_out(self) -> bool {
        matches!(self, Self::WatchOne | Self::WatchMany | Self::V2Watch)
    }

    /// Whether all keys have to be there before.
    pub(super) fn wants_keys(self) -> bool {
        use Kind::{CountOnly, Delete, Get, GetSerializable, KeysOnly, Mixed, Page, Range, Txn};
        let readers = matches!(self, Get | GetSerializable | Range | Page | KeysOnly | CountOnly);
        readers || matches!(self, Txn | Delete | Mixed)
    }

    /// Whether each key is used once.
    pub(super) fn uses_keys_up(self) -> bool {
        matches!(self, Self::Delete | Self::Fill)
    }

    /// Default of `--limit`.
    pub(super) fn limit(self) -> u64 {
        if self == Self::WatchCatchUp { 10_000 } else { 1000 }
    }

    /// Default of `--watchers`.
    pub(super) fn watchers(self, connections: u64) -> u64 {
        if self == Self::V2Watch { connections } else { 1000 }
    }

    /// Default of `--outstanding`.
    pub(super) fn outstanding(self) -> u64 {
        if self.is_v2() { 1 } else { 10 }
    }

    /// # Errors
    /// When options do not go together for this load.
    pub(super) fn check(self, options: &Options) -> Result<()> {
        let Options { keys, limit, processes, .. } = *options;
        if self.is_v2() && options.outstanding != 1 {
            bail!("v2 has one request under way per connection: --outstanding 1");
        }
        if matches!(self, Self::Range | Self::KeysOnly | Self::Page) && limit > keys {
            bail!("--limit {limit} is more than --keys {keys}");
        }
        if self.is_fan_out() && options.value_bytes < 16 {
            bail!("values of watch loads carry when they were sent: --value-bytes 16 at least");
        }
        if self.is_fan_out() && options.watchers < processes {
            bail!("--processes {processes} need a watcher each");
        }
        if self == Self::V2Watch && options.connections != options.watchers {
            bail!("each v2 watcher is a connection: --watchers is the number of --connections");
        }
        if self.uses_keys_up() && options.distribution != Distribution::Uniform {
            bail!("{self} uses each key once: there is no --distribution");
        }
        if self == Self::Delete && matches!(options.length, Length::Requests(n) if n > keys) {
            bail!("--requests of delete are at most --keys {keys}");
        }
        Ok(())
    }
}

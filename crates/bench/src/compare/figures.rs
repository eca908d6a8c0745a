//! The figures that are taken, with their names and units.

use serde::Serialize;

/// A figure. All are better when they are smaller, but [`Figure::RequestsPerSecond`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// CPU time of all members together per request (or per delivered event), in µs.
    ServerCpuUs,
    /// Requests (or events) per second.
    RequestsPerSecond,
    /// Median latency in ms.
    P50Ms,
    /// 99th percentile of latency in ms.
    P99Ms,
    /// 99.9th percentile of latency in ms.
    P999Ms,
    /// Longest latency in ms, counted from when the request was due.
    MaxMs,
    /// 99th percentile divided by the median.
    P99OverP50,
    /// CPU time of the generator per request, in µs.
    ClientCpuUs,
    /// Anonymous memory of all members in MiB.
    RssAnonMib,
    /// File pages mapped by all members, in MiB.
    RssFileMib,
    /// Both together, in MiB.
    RssMib,
    /// Bytes handed to the block layer per request.
    WrittenBytes,
    /// Syncs of the log and commits of the database, of all members, per write.
    Syncs,
    /// From exec to the first linearizable answer, in s.
    StartS,
    /// Without an acknowledged write after the leader was killed, in ms.
    GapMs,
    /// Until each survivor had acknowledged one, in ms.
    GapAllMs,
    /// CPU per read of the key with many old revisions divided by that of a fresh key.
    OldOverFresh,
}

impl Figure {
    /// Heading of its column.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::ServerCpuUs => "server µs/req",
            Self::RequestsPerSecond => "req/s",
            Self::P50Ms => "p50 ms",
            Self::P99Ms => "p99 ms",
            Self::P999Ms => "p99.9 ms",
            Self::MaxMs => "max ms",
            Self::P99OverP50 => "p99/p50",
            Self::ClientCpuUs => "client µs/req",
            Self::RssAnonMib => "anon MiB",
            Self::RssFileMib => "file MiB",
            Self::RssMib => "RSS MiB",
            Self::WrittenBytes => "written B/req",
            Self::Syncs => "fsync/write",
            Self::StartS => "start s",
            Self::GapMs => "gap ms",
            Self::GapAllMs => "gap all ms",
            Self::OldOverFresh => "old/fresh",
        }
    }

    /// A value of it with the digits that mean something.
    pub(super) fn show(self, value: f64) -> String {
        let decimals = match value.abs() {
            size if size >= 1000.0 => 0,
            size if size >= 100.0 => 1,
            size if size >= 1.0 => 2,
            _ => 4,
        };
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_or_so() {
        let cases = [(12345.6, "12346"), (123.45, "123.5"), (12.345, "12.35"), (0.01234, "0.0123")];
        for (value, text) in cases {
            assert_eq!(Figure::ServerCpuUs.show(value), text);
        }
    }
}

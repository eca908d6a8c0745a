//! What a process has used, from /proc.
//!
//! Never:      a guess for what the system does not tell.
//! Invariants: CPU time is exact to ns while no thread ends, and to a clock tick (10 ms) otherwise.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::numbers::float;
use crate::report::ServerUsage;

/// USER_HZ: the unit of times in /proc, the same on all architectures of Linux that matter here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters of a process at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Run time of each thread in ns.
    threads: BTreeMap<u32, u64>,
    /// User and system time in ticks, of ended threads too.
    ticks: u64,
    write_bytes: u64,
    voluntary: u64,
    involuntary: u64,
    anon_kib: u64,
    file_kib: u64,
}

impl Snapshot {
    /// Of a running process.
    ///
    /// # Errors
    /// When there is none with this ID, or it may not be looked at.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let (status, io) = (read("status")?, read("io")?);
        let mut snapshot = Self {
            ticks: ticks(&read("stat")?).with_context(|| format!("read /proc/{pid}/stat"))?,
            write_bytes: named(&io, "write_bytes:"),
            anon_kib: named(&status, "RssAnon:"),
            file_kib: named(&status, "RssFile:") + named(&status, "RssShmem:"),
            ..Self::default()
        };
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()).map(str::parse);
            let Some(Ok(id)) = id else { continue };
            // A thread may end between two reads.
            let (Ok(run), Ok(status)) = (
                fs::read_to_string(path.join("schedstat")),
                fs::read_to_string(path.join("status")),
            ) else {
                continue;
            };
            snapshot.voluntary += named(&status, "voluntary_ctxt_switches:");
            snapshot.involuntary += named(&status, "nonvoluntary_ctxt_switches:");
            let run = run.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            snapshot.threads.insert(id, run.unwrap_or(0));
        }
        Ok(snapshot)
    }

    /// CPU seconds since an earlier snapshot of the same process.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> f64 {
        let ticks = float(self.ticks.saturating_sub(earlier.ticks)) / TICKS_PER_SECOND;
        if earlier.threads.keys().any(|id| !self.threads.contains_key(id)) {
            return ticks;
        }
        let began = |id| earlier.threads.get(id).copied().unwrap_or(0);
        let nanos = self.threads.iter().map(|(id, run)| run.saturating_sub(began(id))).sum();
        float(nanos) / 1e9
    }

    /// All that it used since an earlier snapshot.
    pub(crate) fn usage_since(&self, earlier: &Self, pid: u32, units: u64) -> ServerUsage {
        let cpu_seconds = self.cpu_since(earlier);
        ServerUsage {
            pid,
            cpu_seconds,
            cpu_us: crate::numbers::per(cpu_seconds * 1e6, units),
            rss_anon_kib: self.anon_kib,
            rss_file_kib: self.file_kib,
            write_bytes: self.write_bytes.saturating_sub(earlier.write_bytes),
            voluntary_switches: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary_switches: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

/// `utime` and `stime`: the 12th and 13th field behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// The number behind a name at the beginning of a line; 0 when there is none.
fn named(text: &str, name: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.strip_prefix(name));
    let mut numbers = values.filter_map(|value| value.split_whitespace().next()?.parse().ok());
    numbers.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files() {
        let stat = "12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20";
        assert_eq!(ticks(stat), Some(730));
        assert_eq!(ticks("12 (a"), None);
        let status = "Name:\tx\nRssAnon:\t    5120 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(named(status, "RssAnon:"), 5120);
        assert_eq!(named(status, "voluntary_ctxt_switches:"), 7);
        assert_eq!(named(status, "RssFile:"), 0);
    }

    #[test]
    fn threads_that_end_do_not_make_time_go_back() {
        let at = |threads: &[(u32, u64)], ticks| Snapshot {
            threads: threads.iter().copied().collect(),
            ticks,
            ..Snapshot::default()
        };
        let before = at(&[(1, 1_000), (2, 5_000_000_000)], 500);
        let exact = at(&[(1, 2_001_000), (2, 5_001_000_000), (3, 500_000)], 500);
        assert!((exact.cpu_since(&before) - 0.0035).abs() < 1e-9);
        let one_less = at(&[(1, 2_001_000)], 530);
        assert!((one_less.cpu_since(&before) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let before = Snapshot::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while Snapshot::of(std::process::id()).unwrap().cpu_since(&before) < 0.01 {
            sum = (0..100_000)
                .fold(sum, |sum: u64, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert!(before.anon_kib > 0, "{sum}");
        assert!(Snapshot::of(u32::MAX).is_err());
    }
}

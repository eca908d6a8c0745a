//! What the kernel knows about this process, for the `process_*` metrics.

use std::fs;

/// Clock ticks per second in `/proc/self/stat`; fixed at 100 in what Linux shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) start_unix_seconds: f64,
    pub(crate) virtual_bytes: u64,
    /// `None` for no limit.
    pub(crate) virtual_max_bytes: Option<u64>,
    pub(crate) resident_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) open_files_max: u64,
}

impl Process {
    /// Reads them; `None` where there is no such `/proc`. Blocks.
    pub(crate) fn read() -> Option<Self> {
        let file = |path: &str| fs::read_to_string(path).ok();
        // The directory that is being read is open itself.
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        let texts = Texts {
            stat: &file("/proc/self/stat")?,
            status: &file("/proc/self/status")?,
            limits: &file("/proc/self/limits")?,
            system: &file("/proc/stat")?,
        };
        Some(Self { open_files: open_files as u64, ..texts.parse()? })
    }
}

/// The contents of the four files.
struct Texts<'a> {
    stat: &'a str,
    status: &'a str,
    limits: &'a str,
    system: &'a str,
}

impl Texts<'_> {
    fn parse(&self) -> Option<Process> {
        // The second field, the program's name, can hold anything, even spaces and parentheses.
        let (_, behind_name) = self.stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        // proc(5) counts from 1 and the name is field 2, so field n is at n - 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| as_f64(ticks) / TICKS_PER_SECOND;
        let boot = as_f64(value(self.system, "btime")?.parse().ok()?);
        Some(Process {
            cpu_seconds: seconds(field(14)? + field(15)?),
            start_unix_seconds: boot + seconds(field(22)?),
            virtual_bytes: field(23)?,
            virtual_max_bytes: value(self.limits, "Max address space")?.parse().ok(),
            resident_bytes: value(self.status, "VmRSS:")?.parse::<u64>().ok()? * 1024,
            open_files: 0,
            open_files_max: value(self.limits, "Max open files")?.parse().ok()?,
        })
    }
}

/// The first word behind a label at the start of a line.
fn value<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()
}

/// A count as a metric shows it; above 2^53 the last digits are rounded, as in every metric.
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_plausible() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 100_000);
        assert!(process.open_files > 0 && process.open_files < process.open_files_max);
        assert!(process.start_unix_seconds > 1.0e9);
    }

    #[test]
    fn a_strange_program_name_is_no_field() {
        let mut stat = String::from("7 (a) b (c) R");
        (4..=52).for_each(|field| stat.push_str(&format!(" {field}")));
        let texts = Texts {
            stat: &stat,
            status: "VmPeak:\t 1 kB\nVmRSS:\t    12 kB\n",
            limits: "Max open files            1024   4096   files\n\
                     Max address space         unlimited unlimited bytes\n",
            system: "cpu 1 2\nbtime 1000\n",
        };
        let expected = Process {
            cpu_seconds: 0.29,
            start_unix_seconds: 1000.22,
            virtual_bytes: 23,
            virtual_max_bytes: None,
            resident_bytes: 12 * 1024,
            open_files: 0,
            open_files_max: 1024,
        };
        assert_eq!(texts.parse(), Some(expected));
        assert_eq!(Texts { stat: "7 (a", ..texts }.parse(), None);
    }
}

//! Memory of processes, from /proc.

use anyhow::{Context as _, Result};

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Its own.
    pub(super) anon_kib: u64,
    /// Pages of files that it has mapped.
    pub(super) file_kib: u64,
}

/// Memory of all these processes together.
///
/// # Errors
/// When one has ended.
pub(super) fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("read the memory of process {pid}"))?;
        let one = parse(&status).with_context(|| format!("no memory in status of {pid}"))?;
        sum.anon_kib += one.anon_kib;
        sum.file_kib += one.file_kib;
    }
    Ok(sum)
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Memory { anon_kib: field("RssAnon:")?, file_kib: field("RssFile:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_a_process() {
        let status = "VmRSS:\t 300 kB\nRssAnon:\t   200 kB\nRssFile:\t   100 kB\n";
        assert_eq!(parse(status), Some(Memory { anon_kib: 200, file_kib: 100 }));
        assert_eq!(parse("Name:\tzombie\n"), None);
        assert!(memory(&[std::process::id()]).unwrap().anon_kib > 0);
    }
}

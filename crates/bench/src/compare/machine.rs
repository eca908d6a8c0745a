//! What the run ran on, from /proc.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::pin::Cores;

/// What has to be known to read the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// Model of the CPU.
    pub(super) cpu: String,
    /// CPUs that this process may use.
    pub(super) cpus: usize,
    /// Core of the generator.
    pub(super) generator_core: usize,
    /// Core of the servers.
    pub(super) server_core: usize,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// Release of the kernel.
    pub(super) kernel: String,
    /// File system of the data directories.
    pub(super) file_system: String,
    /// Runnable processes averaged over the last minute before the run: not 0 means disturbance.
    pub(super) load_average: String,
    /// Beginning of the run, seconds since 1970.
    pub(super) began: u64,
}

impl Machine {
    /// This machine, with data directories in `directory`.
    pub(super) fn read(directory: &Path, cores: &Cores) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let first = |text: &str| text.split_whitespace().next().unwrap_or("unknown").to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            cpus: cores.count,
            generator_core: cores.generator,
            server_core: cores.server,
            memory_mib: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|size| size.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: first(&read("/proc/sys/kernel/osrelease")),
            file_system: file_system(&read("/proc/mounts"), directory),
            load_average: first(&read("/proc/loadavg")),
            began: now.as_secs(),
        }
    }
}

/// The value of `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
}

/// Type of the file system that is mounted nearest above a directory.
fn file_system(mounts: &str, directory: &Path) -> String {
    let rows = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    // The last of several on the same point hides the others.
    rows.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }

    #[test]
    fn fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nMemTotal:  1024 kB\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC"));
        assert_eq!(field(text, "MemTotal"), Some("1024 kB"));
        assert_eq!(field(text, "none"), None);
    }
}

//! Usage and help texts, made from the flag table.

use std::fmt::Write as _;

use crate::flags::{Group, TABLE};

/// The short text that stands on stderr behind a mistake and before the help.
pub(crate) const USAGE: &str = "\
Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Show the version.

  etcd -h | --help
    Show this text and all flags.
";

/// The flags by section, each with its default and one line on what it does.
pub(crate) fn flags_help() -> String {
    let mut out = String::new();
    for (group, title) in Group::LISTED {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "\n{title}:");
        for flag in TABLE.iter().filter(|flag| flag.group == group) {
            let default = match flag.name {
                "data-dir" => "${name}.etcd",
                "initial-cluster" => "${name}=http://localhost:2380",
                _ => flag.default,
            };
            let _ = writeln!(out, "  --{} '{default}'\n    {}", flag.name, flag.help);
        }
    }
    out.push_str(
        "\nEvery flag can also be given as an environment variable: ETCD_ and its name in capitals, \
         with _ for -.\nFlags of etcd that are not listed here are refused, unless they ask for \
         what is the case anyway.\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Status;

    #[test]
    fn help_lists_every_supported_flag_once() {
        let help = flags_help();
        for flag in TABLE.iter().filter(|flag| flag.name != "version") {
            let count = help.matches(&format!("  --{} '", flag.name)).count();
            assert_eq!(count, usize::from(flag.status == Status::Supported), "{}", flag.name);
        }
    }
}

//! `ETCD_*` variables: one for each flag, and what etcd does about the others.

use std::collections::BTreeSet;

use crate::flags::{Flag, Status, TABLE};
use crate::load::{ConfigError, Note};

/// Variables with etcd's prefix that are not settings: the first is set by container images and
/// dropped, the others switch checks of etcd itself.
const NOT_SETTINGS: [&str; 3] = ["ETCD_VERSION", "ETCD_UNSUPPORTED_ARCH", "ETCD_VERIFY"];

/// The flags that the environment sets, in the order of the variables' names.
///
/// # Errors
/// A variable whose flag was given too, even an empty one (seen on 3.4.23 and 3.5.1), and a value
/// that does not parse. The former wins, and of several of the latter the last by name, as in etcd.
pub(crate) fn read(
    variables: &[(String, String)],
    on_command_line: &BTreeSet<&'static str>,
    notes: &mut Vec<Note>,
) -> Result<Vec<(&'static Flag, String)>, ConfigError> {
    let mut variables: Vec<&(String, String)> =
        variables.iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
    variables.sort();
    let mut found = Vec::new();
    let mut invalid = None;
    for (name, value) in variables {
        let flag = TABLE.iter().find(|flag| flag.env_name() == *name);
        let Some(flag) = flag.filter(|_| !NOT_SETTINGS.contains(&name.as_str())) else {
            notes.extend(note_on_other(name));
            continue;
        };
        if on_command_line.contains(flag.name) {
            return Err(ConfigError::Shadowed { variable: name.clone() });
        }
        if value.is_empty() {
            continue;
        }
        match flag.check(value) {
            Ok(()) => found.push((flag, value.clone())),
            Err(reason) => invalid = Some(format!("invalid value {value:?} for {name}: {reason}")),
        }
    }
    match invalid {
        Some(text) => Err(ConfigError::Verify(text)),
        None => {
            notes.extend(found.iter().filter(|(flag, _)| flag.status != Status::Ignored).map(used));
            Ok(found)
        }
    }
}

fn used((flag, value): &(&'static Flag, String)) -> Note {
    Note::info("recognized and used environment variable")
        .with("variable-name", flag.env_name())
        .with("variable-value", value.clone())
}

fn note_on_other(name: &str) -> Option<Note> {
    match name {
        "ETCD_VERSION" => Some(
            Note::warn("ignored environment variable that is no setting").with("variable", name),
        ),
        "ETCD_UNSUPPORTED_ARCH" | "ETCD_VERIFY" => None,
        _ => {
            Some(Note::warn("unrecognized environment variable").with("environment-variable", name))
        }
    }
}

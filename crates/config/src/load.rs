//! From arguments and environment to an [`Outcome`]: precedence, refusals, notes.
//!
//! Owns:       the order of checks and what ends the process with which exit code.
//! Source:     reference/server-config.md 1 and 11; order seen on 3.5.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::args::{self, Stop};
use crate::build;
use crate::environment;
use crate::flags::{Flag, Status};
use crate::settings::Config;
use crate::usage::{USAGE, flags_help};
use crate::version;

/// What the process is asked to do.
#[derive(Debug)]
pub enum Outcome {
    /// Serve; the notes are to be logged once logging is set up.
    Run {
        /// The checked settings.
        config: Box<Config>,
        /// What the user should know about them.
        notes: Vec<Note>,
    },
    /// Print the texts and end with 0.
    Print {
        /// Text for standard output.
        stdout: String,
        /// Text for standard error.
        stderr: String,
    },
}

/// Why the process cannot start. [`ConfigError::exit_code`] gives the exit code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command line is malformed: text and usage on stderr.
    #[error("{0}\n{USAGE}")]
    Syntax(String),
    /// Something of etcd's that this server does not do yet.
    #[error("{what} is not supported by this version of etch yet ({ETCH}){hint}", ETCH = version::ETCH)]
    NotSupported {
        /// The flag, variable or word with its value, as the user wrote it.
        what: String,
        /// What to do instead, with its separator, or nothing.
        hint: String,
        /// Exit code: 2 for a flag, 1 for a variable, as etcd ends on bad values of each.
        exit_code: u8,
    },
    /// A variable is set whose flag is given too. The text has etcd's unbalanced bracket.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"
    )]
    Shadowed {
        /// Name of the variable.
        variable: String,
    },
    /// Listeners without the URLs that clients are to be told; etcd logs a second line for it.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseMissing,
    /// The settings contradict etcd's rules.
    #[error("{0}")]
    Verify(String),
}

impl ConfigError {
    /// Returns the exit code that etcd uses for this kind.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Syntax(_) => 2,
            Self::NotSupported { exit_code, .. } => *exit_code,
            Self::Shadowed { .. } | Self::AdvertiseMissing | Self::Verify(_) => 1,
        }
    }
}

/// Something to log about the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Severity.
    pub level: NoteLevel,
    /// Message, without the particulars.
    pub message: &'static str,
    /// Particulars.
    pub fields: Vec<(&'static str, String)>,
}

/// Severity of a [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    /// Worth knowing.
    Info,
    /// Probably a mistake.
    Warn,
}

impl Note {
    pub(crate) fn info(message: &'static str) -> Self {
        Self { level: NoteLevel::Info, message, fields: Vec::new() }
    }

    pub(crate) fn warn(message: &'static str) -> Self {
        Self { level: NoteLevel::Warn, message, fields: Vec::new() }
    }

    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((key, value.into()));
        self
    }
}

/// Where a setting came from; decides how a bad one ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    CommandLine,
    Environment,
}

impl Source {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::CommandLine => 2,
            Self::Environment => 1,
        }
    }

    /// The setting as the user wrote it, but for secrets, which must not reach a log.
    pub(crate) fn spell(self, flag: &Flag, value: &str) -> String {
        let value = match flag.name {
            "discovery-password" | "discovery-user" => "...",
            _ => value,
        };
        match self {
            Self::CommandLine => format!("flag --{}={value}", flag.name),
            Self::Environment => format!("environment variable {}={value}", flag.env_name()),
        }
    }
}

/// A value that was given for a flag.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// Values by flag name, without defaults.
pub(crate) type Settings = BTreeMap<&'static str, Given>;

/// Reads the words behind the program's name and the environment.
///
/// `detect_host` gives the address of the interface with the default route; it is asked only when
/// a default advertised URL stands beside a listener on 0.0.0.0.
///
/// # Errors
/// [`ConfigError`]: what to print, and the exit code.
pub fn parse(
    arguments: &[String],
    variables: &[(String, String)],
    detect_host: &dyn Fn() -> Option<IpAddr>,
) -> Result<Outcome, ConfigError> {
    refuse_sub_command(arguments)?;
    let line = match args::parse(arguments) {
        Ok(line) => line,
        Err(Stop::Help) => {
            return Ok(Outcome::Print { stdout: flags_help(), stderr: USAGE.to_owned() });
        }
        Err(Stop::Mistake(text)) => return Err(ConfigError::Syntax(text)),
    };
    if let Some(word) = line.words.first() {
        return Err(ConfigError::Verify(format!("'{word}' is not a valid flag")));
    }
    let asks_version = line
        .flags
        .iter()
        .rev()
        .find(|(flag, _)| flag.name == "version")
        .is_some_and(|(_, value)| crate::flags::parse_bool(value) == Some(true));
    if asks_version {
        return Ok(Outcome::Print { stdout: version::text(), stderr: String::new() });
    }
    let mut notes = Vec::new();
    let settings = merge(&line.flags, variables, &mut notes)?;
    let config = build::config(&settings, detect_host, &mut notes)?;
    Ok(Outcome::Run { config: Box::new(config), notes })
}

/// `gateway` and `grpc-proxy` are programs of their own and count only as first word.
fn refuse_sub_command(arguments: &[String]) -> Result<(), ConfigError> {
    match arguments.first().map(String::as_str) {
        Some(word @ ("gateway" | "grpc-proxy")) => Err(ConfigError::NotSupported {
            what: format!("sub-command {word}"),
            hint: String::new(),
            exit_code: 2,
        }),
        _ => Ok(()),
    }
}

/// Joins both sources, resolves older names, drops what is ignored and refuses what does not work.
fn merge(
    flags: &[(&'static Flag, String)],
    variables: &[(String, String)],
    notes: &mut Vec<Note>,
) -> Result<Settings, ConfigError> {
    let on_command_line: BTreeSet<&'static str> = flags.iter().map(|(flag, _)| flag.name).collect();
    let from_environment = environment::read(variables, &on_command_line, notes)?;
    let all = from_environment
        .iter()
        .map(|(flag, value)| (*flag, value, Source::Environment))
        .chain(flags.iter().map(|(flag, value)| (*flag, value, Source::CommandLine)));
    let mut settings = Settings::new();
    let mut older = Vec::new();
    for (flag, value, source) in all {
        let given = Given { value: value.clone(), source };
        match flag.status {
            // An empty URL list is taken and changes nothing.
            Status::Supported if flag.kind == crate::flags::Kind::Urls && value.is_empty() => {}
            Status::Supported => drop(settings.insert(flag.name, given)),
            Status::OldNameOf(newer) => older.push((flag, newer, given)),
            Status::NotYet(_) if flag.is_default(value) => {}
            Status::NotYet(_) => return Err(refusal(flag, &given)),
            Status::Ignored | Status::IgnoredValue => notes.push(
                Note::warn("flag is no longer supported; ignoring it").with("flag", flag.name),
            ),
        }
    }
    for (flag, newer, given) in older {
        refuse_both(flag, newer, &settings)?;
        notes.push(
            Note::warn("flag has a newer name").with("flag", flag.name).with("newer-name", newer),
        );
        settings.insert(newer, given);
    }
    Ok(settings)
}

/// The one flag of which etcd 3.6 does not take both names; of all others the older one wins.
fn refuse_both(flag: &Flag, newer: &str, settings: &Settings) -> Result<(), ConfigError> {
    if newer != "warning-unary-request-duration" || !settings.contains_key(newer) {
        return Ok(());
    }
    let older = flag.name;
    Err(ConfigError::Verify(format!(
        "both --{older} and --{newer} flags are set. Use only --{newer}"
    )))
}

fn refusal(flag: &Flag, given: &Given) -> ConfigError {
    let hint = match flag.name {
        "debug" => "; use --log-level=debug",
        "config-file" => "; use flags or environment variables",
        _ => "",
    };
    ConfigError::NotSupported {
        what: given.source.spell(flag, &given.value),
        hint: hint.to_owned(),
        exit_code: given.source.exit_code(),
    }
}

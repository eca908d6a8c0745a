//! The table of every flag that etcd has had since 3.4, and what this server does with each.
//!
//! Owns:       names, kinds, defaults and help texts.
//! Invariants: names are unique and the defaults parse (tested). An environment variable exists for
//!             every flag: `ETCD_` and the name in capitals, `-` as `_`.
//! Source:     reference/server-config.md 2 and 3. Defaults of 3.7; for flags removed before it those
//!             of the last release that had them.

mod table;

pub use table::TABLE;

use crate::duration;
use crate::settings::{LogFormat, LogLevel};
use crate::url::EndpointUrl;

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Value when not given; what users see in the help.
    pub default: &'static str,
    /// What is done with it.
    pub status: Status,
    /// Section of the help.
    pub group: Group,
    /// What it means, for the help; empty for flags that the help does not list.
    pub help: &'static str,
}

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Go's boolean; a flag of this kind needs `=` for its value.
    Bool,
    /// Unsigned 64-bit number, Go syntax (`0x10`, `1_000`).
    Unsigned,
    /// Unsigned 32-bit number in decimal digits, as etcd's own type of it.
    Unsigned32,
    /// Signed 64-bit number, Go syntax.
    Signed,
    /// Go duration.
    Duration,
    /// Comma list of endpoint URLs; an empty text leaves the default.
    Urls,
    /// `*`, or a comma list of URLs.
    Origins,
    /// Any text.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A log level.
    Level,
    /// A log format.
    Format,
}

/// What this server does with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Supported,
    /// An older name of a flag that works; it wins over the newer name when both are given.
    OldNameOf(&'static str),
    /// Not working yet: refused by name, unless the value is the default or one of these, which
    /// change nothing either.
    NotYet(&'static [&'static str]),
    /// etcd takes and ignores it, saying so. It counts as a boolean, so it swallows no word.
    Ignored,
    /// etcd takes it with a value, and the release that governs ignores the value.
    IgnoredValue,
}

/// Section of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The member itself: name, files, listeners, limits.
    Member,
    /// Bootstrap and membership.
    Clustering,
    /// Logs.
    Logging,
    /// What can lose data.
    Unsafe,
    /// Not in the help.
    Hidden,
}

impl Group {
    /// The sections in the order of the help, with their titles.
    pub const LISTED: [(Self, &'static str); 4] = [
        (Self::Member, "Member"),
        (Self::Clustering, "Clustering"),
        (Self::Logging, "Logging"),
        (Self::Unsafe, "Unsafe feature"),
    ];
}

/// Finds a flag by name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    TABLE.iter().find(|flag| flag.name == name)
}

impl Flag {
    /// Name of the environment variable that sets it.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Reports whether the flag may stand without a value.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.kind == Kind::Bool
    }

    /// Checks a value's syntax.
    ///
    /// # Errors
    /// Go's or etcd's words for what is wrong, to stand behind `invalid value ...: `.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let parse_error = || "parse error".to_owned();
        match self.kind {
            Kind::Text => Ok(()),
            Kind::Bool => parse_bool(value).map(drop).ok_or_else(parse_error),
            Kind::Unsigned => parse_unsigned(value).map(drop).ok_or_else(parse_error),
            Kind::Unsigned32 => check_unsigned32(value),
            Kind::Signed => parse_signed(value).map(drop).ok_or_else(parse_error),
            Kind::Duration => duration::parse_nanos(value).map(drop).ok_or_else(parse_error),
            Kind::Urls if value.is_empty() => Ok(()),
            Kind::Origins if value == crate::serving::ANY => Ok(()),
            Kind::Urls | Kind::Origins => {
                EndpointUrl::parse_list(value).map(drop).map_err(|e| e.to_string())
            }
            Kind::Choice(words) if words.contains(&value) => Ok(()),
            Kind::Choice(_) => Err("invalid value".to_owned()),
            // Go panics over these two (exit 2 and a stack); the text is the panic's first line.
            Kind::Level if LogLevel::parse(value).is_some() => Ok(()),
            Kind::Level => Err(format!("unrecognized level: {value:?}")),
            Kind::Format if LogFormat::parse(value).is_some() => Ok(()),
            Kind::Format => {
                Err(format!("unknown log format: {value}, supported values json, console"))
            }
        }
    }

    /// Reports whether a value (whose syntax is right) means the same as the default.
    #[must_use]
    pub fn is_default(&self, value: &str) -> bool {
        self.means_same(value, self.default)
            || match self.status {
                Status::NotYet(harmless) => harmless.iter().any(|h| self.means_same(value, h)),
                _ => false,
            }
    }

    fn means_same(&self, value: &str, other: &str) -> bool {
        match self.kind {
            Kind::Bool => parse_bool(value) == parse_bool(other),
            Kind::Unsigned32 => parse_unsigned(value) == parse_unsigned(other),
            Kind::Unsigned => parse_unsigned(value) == parse_unsigned(other),
            Kind::Signed => parse_signed(value) == parse_signed(other),
            Kind::Duration => duration::parse_nanos(value) == duration::parse_nanos(other),
            _ => value == other,
        }
    }
}

/// What `strconv.ParseUint(value, 0, 32)` says.
fn check_unsigned32(value: &str) -> Result<(), String> {
    match parse_unsigned(value) {
        Some(number) if u32::try_from(number).is_ok() => Ok(()),
        Some(_) => Err(format!("strconv.ParseUint: parsing {value:?}: value out of range")),
        None => Err(format!("strconv.ParseUint: parsing {value:?}: invalid syntax")),
    }
}

/// Parses a boolean as Go's `strconv.ParseBool`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a number as Go's `strconv.ParseUint` with base 0: prefixes `0x`, `0o`, `0b`, `0`, and
/// underscores between digits.
#[must_use]
pub fn parse_unsigned(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // Behind a prefix one underscore may lead.
    let has_prefix = radix != 10;
    let digits = if has_prefix { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    let is_well_formed = !digits.is_empty()
        && !digits.starts_with(['_', '+', '-'])
        && !digits.ends_with('_')
        && !digits.contains("__");
    if !is_well_formed {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// Parses a signed number; see [`parse_unsigned`].
#[must_use]
pub fn parse_signed(text: &str) -> Option<i64> {
    if let Some(rest) = text.strip_prefix('-') {
        let magnitude = i128::from(parse_unsigned(rest)?);
        return i64::try_from(-magnitude).ok();
    }
    i64::try_from(parse_unsigned(text.strip_prefix('+').unwrap_or(text))?).ok()
}

#[cfg(test)]
mod tests;

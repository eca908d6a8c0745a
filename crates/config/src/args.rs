//! The command line in the syntax of Go's flag package.
//!
//! `-name v`, `--name v` and `--name=v` are one; a switch takes a value only with `=`; `--` and the
//! first word that is no flag end the flags; the last of repeated flags wins.

use crate::flags::{Flag, find, parse_bool};

/// What the command line holds, before any meaning is given to it.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    /// Flags in the order given.
    pub(crate) flags: Vec<(&'static Flag, String)>,
    /// Words behind the flags.
    pub(crate) words: Vec<String>,
}

/// Why parsing stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `-h` or `--help`.
    Help,
    /// A mistake, in Go's words.
    Mistake(String),
}

/// Parses the words behind the program's name.
pub(crate) fn parse(arguments: &[String]) -> Result<CommandLine, Stop> {
    let mut line = CommandLine::default();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let Some(dashed) = word.strip_prefix('-').filter(|after| !after.is_empty()) else {
            line.words.push(word.clone());
            break;
        };
        if dashed == "-" {
            break;
        }
        let (flag, given) = read_flag(word, dashed)?;
        let value = match given {
            Some(value) => value.to_owned(),
            None if flag.is_switch() => "true".to_owned(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| Stop::Mistake(format!("flag needs an argument: -{}", flag.name)))?,
        };
        check(flag, &value)?;
        line.flags.push((flag, value));
    }
    line.words.extend(rest.cloned());
    Ok(line)
}

/// Splits one word into its flag and the value behind `=`.
fn read_flag<'w>(word: &str, dashed: &'w str) -> Result<(&'static Flag, Option<&'w str>), Stop> {
    let body = dashed.strip_prefix('-').unwrap_or(dashed);
    if body.is_empty() || body.starts_with(['-', '=']) {
        return Err(Stop::Mistake(format!("bad flag syntax: {word}")));
    }
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    match find(name) {
        Some(flag) => Ok((flag, value)),
        None if matches!(name, "h" | "help") => Err(Stop::Help),
        None => Err(Stop::Mistake(format!("flag provided but not defined: -{name}"))),
    }
}

fn check(flag: &Flag, value: &str) -> Result<(), Stop> {
    let Err(reason) = flag.check(value) else { return Ok(()) };
    let name = flag.name;
    Err(Stop::Mistake(if flag.is_switch() && parse_bool(value).is_none() {
        format!("invalid boolean value {value:?} for -{name}: {reason}")
    } else {
        format!("invalid value {value:?} for flag -{name}: {reason}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_read_in_all_gos_spellings() {
        let line = parse(&words("-name a --data-dir=d=e --pre-vote --max-wals 0x7 -pre-vote=f"));
        let line = line.unwrap();
        let flags: Vec<(&str, &str)> =
            line.flags.iter().map(|(flag, value)| (flag.name, value.as_str())).collect();
        let expected = [
            ("name", "a"),
            ("data-dir", "d=e"),
            ("pre-vote", "true"),
            ("max-wals", "0x7"),
            ("pre-vote", "f"),
        ];
        assert_eq!(flags, expected);
        assert!(line.words.is_empty());
    }

    #[test]
    fn words_end_the_flags() {
        for (line, left) in [
            ("--pre-vote false --name a", "false --name a"),
            ("-- --name", "--name"),
            ("- -x", "- -x"),
            ("gateway start", "gateway start"),
        ] {
            assert_eq!(parse(&words(line)).unwrap().words, words(left), "{line}");
        }
    }

    #[test]
    fn mistakes_carry_gos_text() {
        let cases = [
            ("--nope", "flag provided but not defined: -nope"),
            ("---name", "bad flag syntax: ---name"),
            ("--=x", "bad flag syntax: --=x"),
            ("--name", "flag needs an argument: -name"),
            ("--pre-vote=xx", "invalid boolean value \"xx\" for -pre-vote: parse error"),
            (
                "--heartbeat-interval abc",
                "invalid value \"abc\" for flag -heartbeat-interval: parse error",
            ),
            (
                "--initial-cluster-state=foo",
                "invalid value \"foo\" for flag -initial-cluster-state: invalid value",
            ),
        ];
        for (line, text) in cases {
            assert_eq!(parse(&words(line)).unwrap_err(), Stop::Mistake(text.to_owned()), "{line}");
        }
        assert_eq!(parse(&words("--name a -h --nope")).unwrap_err(), Stop::Help);
    }
}

//! The command line of `bench compare`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::rows::{self, Row};

/// Help text.
pub(super) const USAGE: &str = "\
usage: cargo xtask bench [OPTION]...     (builds etcd and bench in release mode)
       bench compare [OPTION]...

Starts etch and each baseline with the same flags and fsync on, loads them in turn, prints a
table of medians and ratios and writes compare.json and compare.svg. Generator and servers are
bound to a core each. Fails when a request failed.

  --baseline PATH    a Go etcd server to compare with; may be repeated, the better one counts.
                     Without one etch runs alone and nothing is judged, for example:
                     --baseline /usr/bin/etcd
  --etch PATH        our server (default: etcd beside this program)
  --only NAME,...    rows or groups of rows: bars (default), loads, large, all
  --members 1|3      members under load rows (default: as each row says); rows about many keys
                     keep their one member
  --rounds N         rounds of each load (default 3)
  --quick            small: 100k keys instead of 1M, short windows; for a first look
  --window SECONDS   measured time of one load (default 5, quick 2)
  --warm-up SECONDS  time before it (default 1, quick 0.5)
  --idle SECONDS     rest before memory is read (default 60, quick 10)
  --keys N           keys of the rows about many keys (default 1000000, quick 100000)
  --kills N          leaders killed per server (default 10, quick 3)
  --out DIR          for compare.json and compare.svg (default target/bench/<time>)
  --list             print the rows and end";

/// Keys of the rows about many keys, and of those about very many.
const KEYS: u64 = 1_000_000;
const KEYS_QUICK: u64 = 100_000;
/// Very many keys per many keys.
const LARGE_FACTOR: u64 = 5;
/// Bounds, so that a run ends.
const ROUNDS_MAX: u64 = 99;
const SECONDS_MAX: f64 = 3600.0;
const KEYS_MAX: u64 = 20_000_000;
const KILLS_MAX: u64 = 99;

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Scale {
    /// Small numbers, which say little.
    pub(super) quick: bool,
    /// Rounds of each load.
    pub(super) rounds: u64,
    /// Keys (and revisions) of the rows about many of them.
    pub(super) keys: u64,
    /// Keys of the rows about very many.
    pub(super) large_keys: u64,
    /// Measured time of a load, in s.
    pub(super) window_s: f64,
    /// Time before it, in s.
    pub(super) warm_up_s: f64,
    /// Rest before memory is read, in s.
    pub(super) idle_s: f64,
    /// Leaders killed per server.
    pub(super) kills: u64,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Our server, when not the one beside this program.
    pub(super) etch: Option<PathBuf>,
    /// Servers to compare with.
    pub(super) baselines: Vec<PathBuf>,
    /// Members of load rows, when not as the rows say.
    pub(super) members: Option<usize>,
    /// What to measure.
    pub(super) rows: Vec<&'static Row>,
    /// How much of it.
    pub(super) scale: Scale,
    /// Where results go.
    pub(super) out: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Measure.
    Run(Options),
    /// Print the help.
    Help,
    /// Print the rows.
    List,
}

/// What was given, before defaults.
#[derive(Default)]
struct Given {
    etch: Option<PathBuf>,
    baselines: Vec<PathBuf>,
    members: Option<usize>,
    only: Vec<String>,
    rounds: Option<u64>,
    quick: bool,
    window: Option<f64>,
    warm_up: Option<f64>,
    idle: Option<f64>,
    keys: Option<u64>,
    kills: Option<u64>,
    out: Option<PathBuf>,
}

/// Reads the arguments behind `compare`.
///
/// # Errors
/// For an unknown option, a missing or impossible value.
pub(super) fn parse(arguments: &[String]) -> Result<Command> {
    let mut given = Given::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, attached) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match name {
            "--help" | "-h" if attached.is_none() => return Ok(Command::Help),
            "--list" if attached.is_none() => return Ok(Command::List),
            "--quick" if attached.is_none() => given.quick = true,
            _ => {
                let mut value = || {
                    let value = attached.clone().or_else(|| rest.next().cloned());
                    value.with_context(|| format!("{name} needs a value"))
                };
                given.take(name, &mut value)?;
            }
        }
    }
    given.finish().map(Command::Run)
}

impl Given {
    fn take(&mut self, name: &str, value: &mut dyn FnMut() -> Result<String>) -> Result<()> {
        match name {
            "--baseline" => self.baselines.push(value()?.into()),
            "--etch" => self.etch = Some(value()?.into()),
            "--out" => self.out = Some(value()?.into()),
            "--only" => self.only.extend(value()?.split(',').map(|word| word.trim().to_owned())),
            "--members" => {
                self.members = Some(match value()?.as_str() {
                    "1" => 1,
                    "3" => 3,
                    other => bail!("--members is 1 or 3, not {other}"),
                });
            }
            "--rounds" => self.rounds = Some(count(name, &value()?, ROUNDS_MAX)?),
            "--keys" => self.keys = Some(count(name, &value()?, KEYS_MAX)?),
            "--kills" => self.kills = Some(count(name, &value()?, KILLS_MAX)?),
            "--window" => self.window = Some(seconds(name, &value()?, 0.05)?),
            "--warm-up" => self.warm_up = Some(seconds(name, &value()?, 0.0)?),
            "--idle" => self.idle = Some(seconds(name, &value()?, 0.0)?),
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
        Ok(())
    }

    fn finish(self) -> Result<Options> {
        let either = |full, quick| if self.quick { quick } else { full };
        let keys = self.keys.unwrap_or(either(KEYS, KEYS_QUICK));
        let scale = Scale {
            quick: self.quick,
            rounds: self.rounds.unwrap_or(either(3, 2)),
            keys,
            large_keys: keys * LARGE_FACTOR,
            window_s: self.window.unwrap_or(if self.quick { 2.0 } else { 5.0 }),
            warm_up_s: self.warm_up.unwrap_or(if self.quick { 0.5 } else { 1.0 }),
            idle_s: self.idle.unwrap_or(if self.quick { 10.0 } else { 60.0 }),
            kills: self.kills.unwrap_or(either(10, 3)),
        };
        Ok(Options {
            etch: self.etch,
            baselines: self.baselines,
            members: self.members,
            rows: rows::select(&self.only)?,
            scale,
            out: self.out,
        })
    }
}

impl Scale {
    /// The measured time of a load.
    pub(super) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.window_s)
    }

    /// The time before it.
    pub(super) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up_s)
    }

    /// The rest before memory is read.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs_f64(self.idle_s)
    }
}

fn count(name: &str, value: &str, max: u64) -> Result<u64> {
    match value.parse::<u64>() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => bail!("{name} is a number from 1 to {max}, not {value:?}"),
    }
}

fn seconds(name: &str, value: &str, min: f64) -> Result<f64> {
    match value.parse::<f64>() {
        Ok(seconds) if (min..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => bail!("{name} is a number of seconds from {min} to {SECONDS_MAX}, not {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn options(text: &str) -> Options {
        match parse(&words(text)).unwrap() {
            Command::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_and_defaults() {
        let all = options(
            "--baseline /a --baseline=/b --members 3 --only put,get --rounds 2 --window 0.5 \
             --keys 7 --kills=4 --out /o",
        );
        assert_eq!(all.baselines, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((all.members, all.scale.rounds, all.scale.kills), (Some(3), 2, 4));
        assert_eq!(all.rows.iter().map(|row| row.name).collect::<Vec<_>>(), ["put", "get"]);
        assert_eq!((all.scale.keys, all.scale.large_keys), (7, 35));
        let none = options("");
        assert!(none.rows.iter().all(|row| row.bar.is_some()) && none.rows.len() > 10);
        assert_eq!((none.scale.rounds, none.scale.keys), (3, 1_000_000));
        let quick = options("--quick --rounds 9");
        assert_eq!((quick.scale.rounds, quick.scale.keys), (9, 100_000));
    }

    #[test]
    fn what_is_unknown_or_impossible_is_refused() {
        for text in [
            "--unsafe-no-fsync",
            "--quick=yes",
            "put",
            "--only nothing",
            "--members 2",
            "--rounds 0",
            "--rounds x",
            "--window -1",
            "--window nan",
            "--idle 1e9",
            "--baseline",
        ] {
            assert!(parse(&words(text)).is_err(), "{text}");
        }
        assert!(matches!(parse(&words("--help")), Ok(Command::Help)));
        assert!(matches!(parse(&words("--only put --list")), Ok(Command::List)));
    }
}

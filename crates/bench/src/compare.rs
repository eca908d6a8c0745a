//! Side-by-side runs: etch and Go servers under the same loads on the same machine.
//!
//! Owns:       the servers it starts, their directories and addresses; `compare.json`, `compare.svg`.
//! Uses:       `bench load` as a child for all that is measured per request; /proc, `/metrics`; a gRPC
//!             client for what disturbs or ends a measurement.
//! Never:      a server without fsync; a flag for one contender alone; a judgement without a baseline.
//! Invariants: servers and generator are bound to a core each, on all sides alike (start-up and
//!             failover are bound nowhere); whatever was started is dead and its directory gone when
//!             the run ends, also by a signal; a failed request fails the run.
//! Source:     issue 4, part b and its table of bars.

mod child;
mod cleanup;
mod client;
mod failover;
mod figures;
mod generator;
mod history;
mod loads;
mod machine;
mod metrics;
mod options;
mod pin;
mod plot;
mod procfs;
mod results;
mod rows;
mod run;
mod server;
mod stalls;
mod stats;
mod stored;
mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use options::{Command, Options};
use results::{Contender, Results, RowResult};
use rows::{Amount, Content, Load, Row, Work};
use run::{Measured, Run};

/// Runs `bench compare` with the arguments behind it.
///
/// # Errors
/// When an argument is wrong, a program is missing, a request failed, or something could not be
/// measured; results so far are written all the same.
pub fn run(arguments: &[String]) -> Result<()> {
    match options::parse(arguments)? {
        Command::Help => println!("{}", options::USAGE),
        Command::List => list(),
        Command::Run(options) => compare(options)?,
    }
    Ok(())
}

fn list() {
    for row in rows::all() {
        let bar = row.bar.map_or_else(String::new, |bar| format!("  [{}]", bar.text()));
        println!("{:<24} {}{bar}", row.name, row.title);
    }
}

fn compare(options: Options) -> Result<()> {
    server::check_environment()?;
    cleanup::on_signals()?;
    let contenders = contenders(&options)?;
    if contenders.len() == 1 {
        eprintln!("no --baseline: etch runs alone and nothing is compared, see --help");
    }
    let out = options.out.clone().map_or_else(default_out, Ok)?;
    std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
    let directory = e2e::TempDir::new("bench");
    cleanup::directory(directory.path());
    let cores = pin::Cores::choose()?;
    if cores.count == 1 {
        eprintln!("one core only: generator and servers share it");
    }
    let run =
        Run::new(options.scale.clone(), contenders.clone(), cores, directory.path().to_owned())?;
    let machine = machine::Machine::read(directory.path(), &cores);
    let mut report = Report {
        results: Results {
            machine,
            scale: options.scale.clone(),
            contenders,
            rows: Vec::new(),
            errors: Vec::new(),
        },
        out,
        rows: options.rows.clone(),
        members: options.members,
    };
    for stage in stages(&options) {
        if let Err(error) = stage.measure(&run, &mut report) {
            let text = format!("{}: {error:#}", stage.name());
            eprintln!("ERROR: {text}");
            report.results.errors.push(text);
        }
    }
    report.finish()
}

/// What is measured on the same servers.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// A load on fresh servers: it finds nothing of others, with any selection of rows.
    Fresh(Load),
    /// Servers with many keys.
    Stored { amount: Amount, works: Vec<Work> },
    /// A key with a long history.
    History,
    /// Disturbed writes.
    Stalls { works: Vec<Work> },
    /// Kills.
    Failover,
}

impl Stage {
    fn name(&self) -> String {
        match self {
            Self::Fresh(load) => format!("load {} of {} members", load.load, load.members),
            Self::Stored { .. } => "servers with many keys".to_owned(),
            Self::History => "a key with a long history".to_owned(),
            Self::Stalls { .. } => "disturbed writes".to_owned(),
            Self::Failover => "failover".to_owned(),
        }
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let mut outcome = Ok(());
        let mut done = |measured: Result<Measured>| {
            let added = measured.and_then(|measured| report.add(run, &measured));
            if let (Ok(()), Err(error)) = (&outcome, added) {
                outcome = Err(error);
            }
        };
        match self {
            Self::Fresh(load) => done(loads::fresh(run, *load)),
            Self::Stored { amount, works } => stored::measure(run, *amount, works, &mut done)?,
            Self::History => done(history::measure(run)),
            Self::Stalls { works } => stalls::measure(run, works, &mut done)?,
            Self::Failover => done(failover::measure(run)),
        }
        outcome
    }
}

/// The stages that the chosen rows need, each piece of work once.
fn stages(options: &Options) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut seen: Vec<Work> = Vec::new();
    for row in &options.rows {
        let work = with_members(row.work, options.members);
        if !seen.contains(&work) {
            seen.push(work);
            add(&mut stages, work);
        }
    }
    stages
}

/// A load with the number of members that the user asked for.
fn with_members(work: Work, members: Option<usize>) -> Work {
    match (work, members) {
        (Work::Load(load), Some(members)) if load.content == Content::Own => {
            Work::Load(Load { members, ..load })
        }
        _ => work,
    }
}

fn add(stages: &mut Vec<Stage>, work: Work) {
    let wanted = match work {
        Work::Load(load) if load.content == Content::Own => Stage::Fresh(load),
        Work::Load(_) => Stage::Stored { amount: Amount::Many, works: vec![work] },
        Work::Start(amount) | Work::Loaded(amount) | Work::Restarted(amount) => {
            Stage::Stored { amount, works: vec![work] }
        }
        Work::OldRevisions => Stage::History,
        Work::Compaction | Work::Snapshot => Stage::Stalls { works: vec![work] },
        Work::Failover => Stage::Failover,
    };
    for stage in stages.iter_mut() {
        match (stage, &wanted) {
            (Stage::Stored { amount, works }, Stage::Stored { amount: same, works: more })
                if amount == same =>
            {
                return works.extend(more);
            }
            (Stage::Stalls { works }, Stage::Stalls { works: more }) => return works.extend(more),
            _ => {}
        }
    }
    stages.push(wanted);
}

/// Results as they grow.
struct Report {
    results: Results,
    out: PathBuf,
    rows: Vec<&'static Row>,
    members: Option<usize>,
}

impl Report {
    /// Takes up what was measured: prints its rows and writes all there are.
    fn add(&mut self, run: &Run, measured: &Measured) -> Result<()> {
        let labels = self.labels();
        for row in &self.rows {
            if with_members(row.work, self.members) != measured.work {
                continue;
            }
            let mut title = row.title(&run.scale);
            if let (Work::Load(wanted), Work::Load(had)) = (row.work, measured.work)
                && wanted.members != had.members
            {
                title = format!("{title} ({} members asked for)", had.members);
            }
            let row = RowResult::of(row, title, measured.note.clone(), &measured.samples);
            println!("{}", table::row(&row, &labels));
            self.results.rows.push(row);
        }
        self.write()
    }

    fn labels(&self) -> Vec<String> {
        self.results.contenders.iter().map(|of| of.label.clone()).collect()
    }

    fn write(&self) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.results).context("encode results")?;
        let path = self.out.join("compare.json");
        std::fs::write(&path, json).with_context(|| format!("write {}", path.display()))?;
        let path = self.out.join("compare.svg");
        std::fs::write(&path, plot::svg(&self.results))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Prints the table; fails when anything went wrong.
    fn finish(mut self) -> Result<()> {
        let order = |name: &str| self.rows.iter().position(|row| row.name == name);
        self.results.rows.sort_by_key(|row| order(row.name));
        self.write()?;
        let overview = table::overview(&self.results);
        print!("{overview}");
        std::fs::write(self.out.join("compare.txt"), &overview).context("write the table")?;
        println!("written to {}", self.out.display());
        if self.results.is_faulty() {
            bail!("requests failed, or something could not be measured");
        }
        Ok(())
    }
}

fn contenders(options: &Options) -> Result<Vec<Contender>> {
    let ours = match &options.etch {
        Some(path) => path.clone(),
        None => {
            let program = std::env::current_exe().context("find this program")?;
            program.with_file_name(format!("etcd{}", std::env::consts::EXE_SUFFIX))
        }
    };
    let mut contenders = vec![contender(&ours, "etch")?];
    for baseline in &options.baselines {
        let mut found = contender(baseline, "etcd")?;
        found.label = format!("etcd {}", number(&found.version));
        let same = contenders.iter().filter(|other| other.label == found.label).count();
        if same > 0 {
            found.label = format!("{} ({})", found.label, same + 1);
        }
        contenders.push(found);
    }
    Ok(contenders)
}

fn contender(path: &Path, label: &str) -> Result<Contender> {
    let path = std::fs::canonicalize(path)
        .with_context(|| format!("find the server {}", path.display()))?;
    let output = Process::new(&path)
        .arg("--version")
        .output()
        .with_context(|| format!("run {} --version", path.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || !version.starts_with("etcd Version: ") {
        bail!("{} is no etcd server: --version says {version:?}", path.display());
    }
    Ok(Contender { label: label.to_owned(), path, version })
}

/// The number in `etcd Version: 3.4.23`.
fn number(version: &str) -> &str {
    let first = version.lines().next().unwrap_or_default();
    first.trim_start_matches("etcd Version: ").trim()
}

fn default_out() -> Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    Ok(PathBuf::from("target/bench").join(timestamp(now.as_secs())))
}

/// `20261125-190850` in UTC, from seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let divides = |years: u64, year: u64| year.is_multiple_of(years);
    let is_leap = |year| divides(4, year) && (!divides(100, year) || divides(400, year));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}{month:02}{:02}-{hour:02}{minute:02}{second:02}", day + 1)
}

#[cfg(test)]
mod example;
#[cfg(test)]
mod tests;

//! Counts the instructions of the cases of `micro` and compares them with what is written down.
//!
//! Owns:       `crates/micro/instructions.txt` and the rules by which a count passes.
//! Uses:       `cargo` to build the program, `valgrind --tool=callgrind` to count.
//! Never:      times: what a machine does besides cannot change a count.
//! Invariants: all cases are counted and reported before the command fails.
//! Source:     docs/decisions/0021-allocator-and-instructions.md.

mod baseline;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};

use baseline::{Baseline, Verdict};

/// Cases of which the first may take at most so many times the instructions of the second: an issue's
/// bars that are ratios hold on any compiler.
const RATIOS: &[(&str, &str, f64)] = &[("get/old-revisions", "get/fresh", 1.05)];
/// What callgrind counts, by the name of the function.
const COUNTED: &str = "*counted_section*";

/// A case as the program lists it.
struct Case {
    name: String,
    units: u64,
    unit: String,
}

/// Instructions per unit of a case.
type Count = (String, f64);

/// Counts; writes the baseline, or compares with it and fails when a case takes more.
pub(crate) fn run(bless: bool) -> Result<()> {
    let program = build()?;
    let cases = list(&program)?;
    let counts = count_all(&program, &cases)?;
    let host = host()?;
    let path = crate::workspace().join("crates/micro/instructions.txt");
    let mut failures = check_ratios(&counts);
    if bless {
        std::fs::write(&path, Baseline::render(&host, &counts)).context("write baseline")?;
        println!("instructions: wrote {} cases", counts.len());
    } else {
        let text = std::fs::read_to_string(&path).context("read baseline")?;
        failures += compare(&Baseline::parse(&text)?, &host, &cases, &counts);
    }
    ensure!(failures == 0, "instructions: {failures} findings");
    Ok(())
}

fn compare(baseline: &Baseline, host: &str, cases: &[Case], counts: &[Count]) -> usize {
    if let Some(note) = baseline.difference(host) {
        println!("instructions: {note}");
    }
    println!("{:<24} {:>12} {:>12} {:>8}", "case", "counted", "expected", "change");
    let mut failures = 0;
    for (case, (name, count)) in cases.iter().zip(counts) {
        let judged = baseline.judge(host, name, *count);
        let expected =
            judged.expected.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"));
        let change = judged.expected.map_or(0.0, |expected| (count / expected - 1.0) * 100.0);
        let remark = match judged.verdict {
            Verdict::Same => String::new(),
            Verdict::Less => "  less: note it with --bless".to_owned(),
            Verdict::More => format!("  FAILED: more than {:.0} % above", judged.tolerance * 100.0),
            Verdict::Unknown => "  FAILED: not in the baseline; add it with --bless".to_owned(),
        };
        failures += usize::from(matches!(judged.verdict, Verdict::More | Verdict::Unknown));
        println!(
            "{name:<24} {count:>12.0} {expected:>12} {change:>+7.1}%  per {}{remark}",
            case.unit
        );
    }
    for name in baseline.names().filter(|name| counts.iter().all(|(known, _)| known != *name)) {
        println!("{name:<24} FAILED: there is no such case any more");
        failures += 1;
    }
    failures
}

fn check_ratios(counts: &[Count]) -> usize {
    let find =
        |wanted: &str| counts.iter().find(|(name, _)| name == wanted).map(|(_, count)| *count);
    let mut failures = 0;
    for (more, less, max) in RATIOS {
        match (find(more), find(less)) {
            (Some(more_count), Some(less_count)) if more_count <= less_count * max => {
                println!("{more} to {less}: {:.3}, at most {max}", more_count / less_count);
            }
            (more_count, less_count) => {
                println!("{more} to {less}: FAILED: {more_count:?} to {less_count:?}, max {max}");
                failures += 1;
            }
        }
    }
    failures
}

/// Builds the program with the profile and the selection of packages of README's build, so that
/// nothing is built twice.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--bin",
            "micro",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(crate::workspace())
        // It splits crates in other ways, and so inlines other functions.
        .env("CARGO_INCREMENTAL", "0")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "build micro: {}", output.status);
    let text = String::from_utf8(output.stdout).context("messages of cargo")?;
    let executable = text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.context("cargo names no executable")
}

fn list(program: &Path) -> Result<Vec<Case>> {
    let output = Command::new(program).arg("list").output().context("run micro list")?;
    ensure!(output.status.success(), "micro list: {}", output.status);
    let text = String::from_utf8(output.stdout).context("list of cases")?;
    let case = |line: &str| {
        let mut words = line.split(' ');
        let (name, units, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some(Case { name: name.to_owned(), units, unit: unit.to_owned() })
    };
    text.lines().map(|line| case(line).with_context(|| format!("list of cases: {line}"))).collect()
}

/// Counts the cases, as many at a time as there are processors.
fn count_all(program: &Path, cases: &[Case]) -> Result<Vec<Count>> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![None; cases.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some((at, case)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|at| Some((at, cases.get(at)?)))
                {
                    let count = count(program, case).map_err(|error| format!("{error:#}"));
                    if let Ok(mut counts) = counts.lock() {
                        counts[at] = Some(count);
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().map_err(|_| anyhow!("a counting thread panicked"))?;
    let named = cases.iter().zip(counts).map(|(case, count)| match count {
        Some(Ok(count)) => Ok((case.name.clone(), count)),
        Some(Err(error)) => bail!("count {}: {error}", case.name),
        None => bail!("{} was not counted", case.name),
    });
    named.collect()
}

/// Instructions per unit. The environment is empty but for what is said here, because its size moves
/// the stack; which copy loops glibc takes must not depend on the size of this machine's caches.
fn count(program: &Path, case: &Case) -> Result<f64> {
    let file_name =
        format!("etch-callgrind-{}-{}", std::process::id(), case.name.replace('/', "-"));
    let out = std::env::temp_dir().join(file_name);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["run", &case.name])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_non_temporal_threshold=0xc0000")
        .output()
        .context("run valgrind, which Debian's package of that name holds")?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let total: u32 = total.context("valgrind wrote no sum")?.trim().parse().context("its sum")?;
    ensure!(total > 0, "nothing was counted: no function is named {COUNTED}");
    let units = u32::try_from(case.units).context("units of a case")?;
    Ok(f64::from(total) / f64::from(units))
}

/// What counts depend on besides the code: compiler and architecture.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("run rustc")?;
    let text = String::from_utf8(output.stdout).context("version of rustc")?;
    let version = text.split(' ').nth(1).context("version of rustc")?;
    Ok(format!("{} rustc {version}", std::env::consts::ARCH))
}

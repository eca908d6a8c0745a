//! The program that runs under callgrind: one case, set up and then run so many times.
//!
//! Owns:       its two commands.
//! Uses:       the cases of the crate.
//! Never:      measures anything itself.
//! Invariants: what is counted happens in `counted_section` alone.
//! Source:     xtask/src/instructions.rs, which starts it.

use std::process::ExitCode;

use micro::{CASES, counted_section};

/// That of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            for case in CASES {
                println!("{} {} {}", case.name, case.runs * case.units, case.unit);
            }
            ExitCode::SUCCESS
        }
        ["run", name] => run(name),
        _ => {
            eprintln!("usage: micro list | micro run <case>");
            ExitCode::from(2)
        }
    }
}

fn run(name: &str) -> ExitCode {
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        eprintln!("micro: no case {name}");
        return ExitCode::from(2);
    };
    let mut run = case.prepare();
    counted_section(&mut run, case.runs);
    ExitCode::SUCCESS
}

//! Client libraries that applications use, each in a program of its own that does all the library
//! can do with keys, watches and leases, while members end and come back.
//!
//! Owns:       the members that such a program uses, and what it asks for to happen to them.
//! Uses:       the programs in `clients/`; our server, and Go's for the same programs, which shows
//!             that they tell the truth.
//! Invariants: a program that fails, or does not end in time, fails its test with all it said.
//! Source:     issue "the surface", Must show 6.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use e2e::etcd::Spec;
use e2e::{Cluster, Program};

/// How long a program may take on a loaded machine.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(180);
/// How long a leader may take to be there.
const LEADER_PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn python_etcd() {
    run("clients-v2", Program::Ours, &python("v2_keys.py"));
}

#[test]
fn python_etcd_go_34() {
    run("clients-v2-go", Program::GoEtcd34, &python("v2_keys.py"));
}

#[test]
fn python_etcd3() {
    run("clients-v3", Program::Ours, &python("v3_keys.py"));
}

#[test]
fn python_etcd3_go_351() {
    run("clients-v3-go", Program::GoEtcd351, &python("v3_keys.py"));
}

#[test]
fn rust_etcd_client() {
    run("clients-rust", Program::Ours, &[Program::ClientsRust.path()]);
}

#[test]
fn rust_etcd_client_go_351() {
    run("clients-rust-go", Program::GoEtcd351, &[Program::ClientsRust.path()]);
}

/// The words that start a script.
fn python(script: &str) -> [PathBuf; 2] {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../clients/python");
    [Program::ClientsPython.path(), folder.join(script)]
}

/// Gives the program three members and does what it asks for until it ends well.
#[track_caller]
fn run(label: &str, server: Program, words: &[PathBuf]) {
    let mut cluster = Cluster::start_with(label, &[server; 3], |_, spec: Spec| {
        spec.set("heartbeat-interval", "50").set("election-timeout", "500")
    });
    let _ = cluster.wait_leader(LEADER_PATIENCE);
    let errors = cluster.directory().join("program.stderr");
    let mut dialogue = Dialogue::start(&cluster, words, &errors);
    let deadline = Instant::now() + PROGRAM_PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match dialogue.lines.recv_timeout(left) {
            Ok(line) => dialogue.hear(&mut cluster, line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("still running:\n{}", dialogue.told(&errors))
            }
        }
    }
    let status = dialogue.child.wait().expect("wait for the program");
    assert!(status.success(), "{status}:\n{}", dialogue.told(&errors));
    assert!(!dialogue.heard.is_empty(), "a program that said nothing has shown nothing");
}

/// A running program and what was said.
struct Dialogue {
    child: Child,
    answers: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Dialogue {
    #[track_caller]
    fn start(cluster: &Cluster, words: &[PathBuf], errors: &std::path::Path) -> Self {
        let addresses = cluster.members().iter().map(|member| member.client().to_string());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(addresses)
            // What an interpreter compiles does not belong into the repository.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(errors).expect("create the file for errors"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", words[0].display()));
        let answers = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, answers, lines, heard: Vec::new() }
    }

    /// Does what a line asks for, if it asks for something.
    #[track_caller]
    fn hear(&mut self, cluster: &mut Cluster, line: String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = match words[..] {
            ["kill", "leader"] => Some(cluster.wait_leader(LEADER_PATIENCE)),
            ["kill" | "start", number] => Some(number.parse().expect("number of a member")),
            _ => None,
        };
        if let Some(number) = number {
            let member = cluster.member_mut(number);
            if words[0] == "kill" {
                member.kill9()
            } else {
                member.restart()
            }
            // A program that has ended in between is told so by its exit status.
            let _ = writeln!(self.answers, "done {number}");
        }
        self.heard.push(line);
    }

    fn told(&self, errors: &std::path::Path) -> String {
        let errors = std::fs::read(errors).unwrap_or_default();
        format!("{}\n{}", self.heard.join("\n"), String::from_utf8_lossy(&errors))
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

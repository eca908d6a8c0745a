//! Bad input and trouble: each gives the documented error or a clear message and exit code, never a
//! panic, a hang or a lost acknowledged write.
//!
//! Uses:       our server only, from outside; raw frames where no client would send them.
//! Source:     issue "the spine", Bad input and trouble; server-config.md 8, 11, 12.

mod api;
mod bad_streams;
mod compaction;
mod connections;
mod damage;
#[cfg(feature = "real")]
mod disk_full;
mod h2;
mod idle;
mod leader_lost;
#[cfg(feature = "real")]
mod listeners;
mod malformed;
mod odd_keys;
mod queues;
mod quiet;
mod startup;
mod stop;
mod storm;
mod unread;
mod v2_bodies;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use e2e::{Addresses, Etcd, Exit, Program, Spec, TempDir, http};

/// Addresses and a directory for the servers of one test.
struct Place {
    addresses: Addresses,
    directory: TempDir,
}

impl Place {
    fn new(label: &str) -> Self {
        Self { addresses: Addresses::new(), directory: TempDir::new(label) }
    }

    /// A server alone in its cluster.
    fn single(&self, name: &str) -> Spec {
        Etcd::builder(Program::Ours).member(name, self.addresses.claim(), self.directory.path())
    }
}

/// What clients were told is stored: the value of each key. Keys `3...` go through v3, others
/// through v2.
#[derive(Clone, Debug, Default)]
struct Acknowledged(BTreeMap<String, String>);

impl Acknowledged {
    /// Writes a key; whether it was acknowledged. Without an answer the outcome stays open.
    fn write(&mut self, server: SocketAddr, key: &str, value: &str) -> bool {
        let is_done = if key.starts_with('3') {
            h2::put(server, key, value.as_bytes()).is_ok_and(|is_done| is_done)
        } else {
            let path = format!("/v2/keys/{key}");
            http::form(server, "PUT", &path, &format!("value={value}"))
                .is_ok_and(|reply| matches!(reply.status, 200 | 201))
        };
        if is_done {
            self.0.insert(key.to_owned(), value.to_owned());
        }
        is_done
    }

    /// Writes `count` keys of each API, all of which must be acknowledged.
    #[track_caller]
    fn write_some(&mut self, server: SocketAddr, label: &str, count: usize) {
        for number in 0..count {
            for api in ["2", "3"] {
                let key = format!("{api}-{label}-{number}");
                assert!(self.write(server, &key, &format!("value-{number}")), "write {key}");
            }
        }
    }

    /// The first key that the server does not answer with its value.
    fn first_missing(&self, server: SocketAddr) -> Option<String> {
        let is_there = |key: &str, value: &str| {
            if key.starts_with('3') {
                h2::range_has(server, key, value.as_bytes()).is_ok_and(|found| found)
            } else {
                http::get(server, &format!("/v2/keys/{key}"))
                    .is_ok_and(|reply| reply.body.contains(&format!("\"value\":\"{value}\"")))
            }
        };
        self.0.iter().find(|(key, value)| !is_there(key, value)).map(|(key, _)| key.clone())
    }

    #[track_caller]
    fn assert_all_on(&self, server: SocketAddr) {
        assert_eq!(self.first_missing(server), None, "an acknowledged write is lost");
    }
}

/// Fails on a log that tells of a panic.
#[track_caller]
fn assert_no_panic(log: &str) {
    let line = log.lines().find(|line| line.contains("panicked"));
    assert_eq!(line, None, "the server panicked");
}

/// A refusal to start: exit code 1, a fatal line with `text`, no panic.
#[track_caller]
fn assert_refused(exit: Exit, log: &str, text: &str) {
    assert_no_panic(log);
    assert_eq!(exit, Exit::Code(1), "{log}");
    let is_said =
        log.lines().any(|line| line.contains("\"level\":\"fatal\"") && line.contains(text));
    assert!(is_said, "no fatal line with {text:?} in:\n{log}");
}

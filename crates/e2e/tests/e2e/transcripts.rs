//! Debian's etcdctl against our cluster and against Debian's own server: the same commands, one
//! after the other on the same addresses, so that even member and cluster IDs must be equal.
//!
//! Owns:       the scripts in `transcripts/`.
//! Invariants: what `normal` replaces is all that may differ: times, indexes, terms, versions,
//!             database sizes, who is leader, IDs of members added at run time.
//! Source:     issue "the spine", Must show 2.

mod normal;
mod script;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use e2e::etcdctl::Finished;
use e2e::{Api, Cluster, Etcdctl, Exit, Program, eventually, until};
use script::{Repeat, Step};

/// Members of each cluster.
const MEMBERS: usize = 3;
/// A membership change may be refused until all members have been connected for 5 s.
const REPEAT_PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn v2_commands() {
    compare("transcript-v2", include_str!("transcripts/v2.txt"));
}

#[test]
fn v3_keys() {
    compare("transcript-v3-keys", include_str!("transcripts/v3_keys.txt"));
}

#[test]
fn v3_cluster() {
    compare("transcript-v3-cluster", include_str!("transcripts/v3_cluster.txt"));
}

/// Runs `text` against Go's cluster, then ours, and reports all steps that differ.
#[track_caller]
fn compare(label: &str, text: &str) {
    let steps = script::parse(text);
    let programs = [Program::Ours; MEMBERS];
    let enable_v2 = |_, spec: e2e::Spec| spec.set("enable-v2", "true");
    let mut cluster = Cluster::describe(label, &programs, enable_v2);
    let spare = e2e::etcd::peer_url(cluster.addresses().claim());
    let replies = [Program::GoEtcd34, Program::Ours].map(|program| {
        cluster.start_over(program);
        Session::new(&cluster, &spare).run_all(&steps)
    });
    let [go, ours] = replies;
    let mut wrong = String::new();
    for (step, (expected, found)) in steps.iter().zip(go.iter().zip(&ours)) {
        let is_right = match &step.accepted {
            Some(text) => expected != found && found.stderr.contains(text),
            None => expected == found,
        };
        if !is_right {
            let _ = writeln!(wrong, "$ {}\nGo:   {expected:?}\nours: {found:?}\n", step.line);
        }
    }
    assert!(wrong.is_empty(), "{} steps compared\n{wrong}", steps.len());
}

/// One cluster with what the scripts' placeholders stand for.
struct Session<'a> {
    cluster: &'a Cluster,
    spare_peer: &'a str,
    /// IDs of members that do not come from the initial cluster, in the order of their coming.
    added: RefCell<Vec<String>>,
}

impl<'a> Session<'a> {
    fn new(cluster: &'a Cluster, spare_peer: &'a str) -> Self {
        let session = Self { cluster, spare_peer, added: RefCell::default() };
        eventually("all members published", REPEAT_PATIENCE, || {
            session.members().iter().all(|fields| !fields[2].is_empty()).then_some(())
        });
        session
    }

    fn run_all(&self, steps: &[Step]) -> Vec<Finished> {
        steps.iter().map(|step| self.run(step)).collect()
    }

    fn run(&self, step: &Step) -> Finished {
        let words: Vec<String> = step.words.iter().map(|word| self.fill(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let once = || self.client(step.api, step.member).run_with_input(&words, &step.input);
        let finished = match step.repeat {
            Repeat::No => once(),
            Repeat::UntilSuccess => until(REPEAT_PATIENCE, || {
                let finished = once();
                (finished.exit == Exit::Code(0)).then_some(finished)
            })
            .unwrap_or_else(once),
        };
        if step.words.iter().any(|word| word == "member") {
            self.note_added();
        }
        normal::normalise(&step.words, finished, &self.added.borrow())
    }

    fn client(&self, api: Api, member: Option<usize>) -> Etcdctl {
        let mut endpoints = self.cluster.endpoints();
        if let Some(number) = member {
            endpoints = vec![endpoints.swap_remove(number)];
        }
        Etcdctl::new(Program::GoEtcdctl34, api, endpoints)
    }

    /// `{id0}`, `{client0}`, `{peer0}` of a member; `{added}` and `{spare}` of the one added last.
    fn fill(&self, word: &str) -> String {
        if !word.contains('{') {
            return word.to_owned();
        }
        let mut filled = word.replace("{spare}", self.spare_peer);
        for (number, host) in self.cluster.hosts().iter().enumerate() {
            filled = filled
                .replace(&format!("{{client{number}}}"), &e2e::etcd::client_url(*host))
                .replace(&format!("{{peer{number}}}"), &e2e::etcd::peer_url(*host));
        }
        for fields in self.members() {
            let number = fields[2].trim_start_matches('m');
            filled = filled.replace(&format!("{{id{number}}}"), &fields[0]);
        }
        match self.added.borrow().last() {
            Some(added) => filled.replace("{added}", added),
            None => filled,
        }
    }

    /// Fields of `member list`, a row per member.
    fn members(&self) -> Vec<Vec<String>> {
        let list = self.client(Api::V3, None).run(&["member", "list"]).success();
        list.lines().map(|line| line.split(", ").map(str::to_owned).collect()).collect()
    }

    fn note_added(&self) {
        let mut added = self.added.borrow_mut();
        for fields in self.members() {
            if fields[3].contains(self.spare_peer) && !added.contains(&fields[0]) {
                added.push(fields[0].clone());
            }
        }
    }
}

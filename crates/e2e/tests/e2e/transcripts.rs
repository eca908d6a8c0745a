//! Debian's etcdctl against our cluster and against Debian's own server: the same commands, one
//! after the other on the same addresses, so that even member and cluster IDs must be equal.
//!
//! Owns:       the scripts in `transcripts/`.
//! Invariants: what `normal` replaces is all that may differ: times, indexes, terms, versions,
//!             database sizes, who is leader, IDs of members added at run time.
//! Source:     issue "the spine", Must show 2; issue "the surface", Must show 1.

mod normal;
mod running;
mod script;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use e2e::etcdctl::Finished;
use e2e::{Api, Cluster, Etcdctl, Exit, Program, eventually, http, until};
use running::Running;
use script::{Action, Repeat, Step};

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
fn v2_watches() {
    compare("transcript-v2-watches", include_str!("transcripts/v2_watches.txt"));
}

#[test]
fn v3_watches() {
    compare("transcript-v3-watches", include_str!("transcripts/v3_watches.txt"));
}

#[test]
fn v3_leases() {
    compare("transcript-v3-leases", include_str!("transcripts/v3_leases.txt"));
}

#[test]
fn v3_cluster() {
    compare("transcript-v3-cluster", include_str!("transcripts/v3_cluster.txt"));
}

#[test]
fn members_that_are_down() {
    compare("transcript-down", include_str!("transcripts/down.txt"));
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
        Session::new(&mut cluster, &spare).run_all(&steps)
    });
    let [go, ours] = replies;
    let mut wrong = String::new();
    for (step, (expected, found)) in steps.iter().zip(go.iter().zip(&ours)) {
        let is_right = match &step.accepted {
            Some(text) => {
                let has_text = found.stderr.contains(text) || found.stdout.contains(text);
                expected != found && has_text
            }
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
    cluster: &'a mut Cluster,
    spare_peer: &'a str,
    /// Fields of `member list` at the beginning, a row per member.
    founders: Vec<Vec<String>>,
    /// IDs of members and leases that came later.
    picked: normal::Picked,
    /// Commands that run, by the names that the script gives them.
    running: BTreeMap<String, (Vec<String>, Running)>,
}

impl<'a> Session<'a> {
    fn new(cluster: &'a mut Cluster, spare_peer: &'a str) -> Self {
        let founders = eventually("all members published", REPEAT_PATIENCE, || {
            let rows = members(&client(cluster, Api::V3, None));
            rows.iter().all(|fields| !fields[2].is_empty()).then_some(rows)
        });
        let picked = normal::Picked::default();
        Self { cluster, spare_peer, founders, picked, running: BTreeMap::new() }
    }

    fn run_all(&mut self, steps: &[Step]) -> Vec<Finished> {
        steps.iter().map(|step| self.run(step)).collect()
    }

    fn run(&mut self, step: &Step) -> Finished {
        for number in &step.kills {
            self.cluster.member_mut(*number).kill9();
        }
        let words: Vec<String> = step.words.iter().map(|word| self.fill(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let client = client(self.cluster, step.api, step.member);
        let nothing =
            || Finished { exit: Exit::Code(0), stdout: String::new(), stderr: String::new() };
        match &step.action {
            Action::Run => self.run_to_end(step, &client, &words),
            Action::Start(name) => {
                let (command, input) = (client.command(&words), self.fill(&step.input));
                let directory = self.cluster.directory().path();
                let running = Running::start(command, name, directory, &input);
                self.running.insert(name.clone(), (step.words.clone(), running));
                nothing()
            }
            Action::Until(name, text) => {
                self.running[name].1.wait_output(text);
                nothing()
            }
            Action::Say(name, text) => {
                let line = self.fill(text) + "\n";
                self.running.get_mut(name).expect("it was started").1.say(&line);
                nothing()
            }
            Action::End(name, text) => {
                let (started, running) = self.running.remove(name).expect("it was started");
                running.wait_output(text);
                normal::normalise(&started, running.end(), &self.picked)
            }
            Action::Wait(name) => {
                let (started, running) = self.running.remove(name).expect("it was started");
                let repeated = || {
                    if !words.is_empty() {
                        let _ = client.run(&words).success();
                    }
                };
                normal::normalise(&started, running.wait_end(repeated), &self.picked)
            }
        }
    }

    fn run_to_end(&mut self, step: &Step, client: &Etcdctl, words: &[&str]) -> Finished {
        let input = self.fill(&step.input);
        let once = || client.run_with_input(words, &input);
        let finished = match step.repeat {
            Repeat::No => once(),
            Repeat::UntilSuccess => until(REPEAT_PATIENCE, || {
                let finished = once();
                (finished.exit == Exit::Code(0)).then_some(finished)
            })
            .unwrap_or_else(once),
        };
        if words.starts_with(&["member", "add"]) && finished.exit == Exit::Code(0) {
            let rows = members(client);
            let newest = rows.into_iter().find(|fields| fields[3].contains(self.spare_peer));
            self.picked.members.extend(newest.map(|mut fields| fields.swap_remove(0)));
        }
        self.picked.learn_lease(&finished.stdout);
        normal::normalise(&step.words, finished, &self.picked)
    }

    /// Puts in what the placeholders stand for.
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
        for fields in &self.founders {
            let number = fields[2].trim_start_matches('m');
            filled = filled.replace(&format!("{{id{number}}}"), &fields[0]);
        }
        if filled.contains("{revision}") {
            filled = filled.replace("{revision}", &self.revision());
        }
        if filled.contains("{index}") {
            filled = filled.replace("{index}", &self.index());
        }
        for (name, value) in
            [("{added}", self.picked.members.last()), ("{lease}", self.picked.leases.last())]
        {
            filled = value.map_or(filled.clone(), |value| filled.replace(name, value));
        }
        filled
    }

    /// The last revision of the v3 store.
    fn revision(&self) -> String {
        let found = client(self.cluster, Api::V3, None).run(&["get", "none", "-w", "json"]);
        let found = found.success();
        let (_, rest) = found.split_once("\"revision\":").expect("a revision");
        rest.chars().take_while(char::is_ascii_digit).collect()
    }

    /// The last index of the v2 store.
    fn index(&self) -> String {
        let member = self.cluster.member(0).client();
        let reply = http::get(member, "/v2/keys?quorum=true").expect("an answer");
        reply.header("X-Etcd-Index").expect("an index").to_owned()
    }
}

/// Debian's client, for all members or one.
fn client(cluster: &Cluster, api: Api, member: Option<usize>) -> Etcdctl {
    let mut endpoints = cluster.endpoints();
    if let Some(number) = member {
        endpoints = vec![endpoints.swap_remove(number)];
    }
    Etcdctl::new(Program::GoEtcdctl34, api, endpoints)
}

/// Fields of `member list`, a row per member.
fn members(client: &Etcdctl) -> Vec<Vec<String>> {
    let list = client.run(&["member", "list"]).success();
    list.lines().map(|line| line.split(", ").map(str::to_owned).collect()).collect()
}

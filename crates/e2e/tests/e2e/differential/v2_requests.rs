//! Random v2 requests: every verb and parameter on few keys, so that they meet; bad values, odd bytes
//! and broken forms among them.
//!
//! What runs out soon has an operation of its own, because its end has no place in the order of
//! operations; so has `wait=true`, which would wait for ever.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::reply::Reply;
use super::run::Generator;
use super::v2::{LAST_VALUE, Operation, Request, WatchCase};

/// Escaped as they are sent.
const KEYS: [&str; 24] = [
    "/f",
    "/f",
    "/g",
    "/g",
    "/h",
    "/a/x",
    "/a/y",
    "/a/b/x",
    "/d/x",
    "/d/_x",
    "/_y",
    "/a%20b",
    "/%3Ca%26b%3E",
    "/%C3%BC",
    "/%ff%fe",
    "/a%2Fb",
    "/d%2Fx",
    "",
    "/",
    "/a",
    "/a/b",
    "/d",
    "/_h/x",
    "/q",
];
const QUEUES: [&str; 4] = ["/q", "/a", "/d", "/_h"];
/// Other ways to write a path, some of them not clean, some broken.
const TWISTS: [&str; 14] = [
    "/",
    "//",
    "/./x",
    "/../x",
    "/..",
    "/%2e%2e/x",
    ";x",
    "/%00",
    "/%0a",
    "/a+b",
    "/%zz",
    "/%",
    "/\u{fc}",
    "/%41",
];
const VALUES: [&str; 10] =
    ["1", "1", "2", "2", "", "a+b", "%3C%26%3E", "%ff%C3%28", "%00%01%0A%22", "%E2%80%A8x"];
const BOOLEANS: [&str; 14] = [
    "true", "false", "1", "0", "t", "F", "TRUE", "False", "yes", "", "tRUE", "2", "True", "%20true",
];
const NUMBERS: [&str; 10] =
    ["0", "5", "-1", "1.5", "x", "", "18446744073709551616", "+5", "%205", "0x5"];
/// None of them runs out during a run.
const TTLS: [&str; 5] = ["500", "1000", "86400", "", "7000000000"];
/// Nanoseconds of it overflow; only a set or create takes it for none (api-v2.md 1.12).
const TTL_PAST_THE_END: u64 = 9_223_372_036;
const BAD_TTLS: [&str; 7] = ["-1", "1.5", "x", "18446744073709551616", "+5", "%205", "0x10"];
const CONTENT_TYPES: [Option<&str>; 8] = [
    Some("application/x-www-form-urlencoded; charset=utf-8"),
    Some("APPLICATION/X-WWW-FORM-URLENCODED"),
    Some("application/json"),
    Some("multipart/form-data; boundary=x"),
    Some("text/plain"),
    Some("application/x-www-form-urlencoded;;"),
    Some("a/b/c"),
    None,
];
const OTHER_PATHS: [&str; 8] =
    ["/v2", "/v2/", "/v2/keysx", "/V2/keys", "/v2/key", "/v2/nothing", "/", "/v2/keys?%zz"];
/// Where a run's keys are kept apart from those of watches.
const SHARED: &str = "";
const FORM_BYTES_MAX: usize = 10 << 20;
/// Writes at the end of a watch: more than a future index can be ahead.
const LAST_WRITES: usize = 7;

/// A seeded source of operations.
pub(super) struct Requests {
    rng: StdRng,
    index: i64,
    /// Last modified index of keys as they were answered.
    modified: BTreeMap<String, i64>,
    watches: u32,
}

impl Requests {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, index: 0, modified: BTreeMap::new(), watches: 0 }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.random_range(0..count) == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).expect("not empty")
    }

    /// Any request on keys below `prefix`.
    fn request(&mut self, prefix: &str) -> Request {
        let method = match self.rng.random_range(0..100) {
            0..26 => "GET",
            26..66 => "PUT",
            66..76 => "POST",
            76..93 => "DELETE",
            93..96 => "HEAD",
            96 => "OPTIONS",
            97 => "PATCH",
            98 => "TRACE",
            _ => "LINK",
        };
        // A POST makes a directory of its key, and other verbs are refused there.
        let is_queue = method == "POST" && !self.one_in(5);
        let key = if is_queue { self.choose(&QUEUES) } else { self.choose(&KEYS) };
        let mut path = format!("/v2/keys{prefix}{key}");
        if self.one_in(14) {
            path.push_str(self.choose(&TWISTS));
        }
        let parameters = self.parameters(method, prefix, key);
        self.assemble(method, path, &parameters)
    }

    /// Spreads parameters over query and form.
    fn assemble(&mut self, method: &'static str, path: String, parameters: &[String]) -> Request {
        let has_form = ["PUT", "POST"].contains(&method) && !self.one_in(5) || self.one_in(30);
        let (mut query, mut form) = (Vec::new(), Vec::new());
        for parameter in parameters {
            let is_in_form = has_form && !self.one_in(8);
            if is_in_form { form.push(parameter.as_str()) } else { query.push(parameter.as_str()) }
        }
        let odd = self.choose(&["&", "&&", "=x", "a=b=c", "%zz=1", "a;b", "nothing=1", "%"]);
        if self.one_in(40) {
            query.push(odd);
        }
        if self.one_in(40) {
            form.push(odd);
        }
        let target = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let mut request = Request::new(method, target, &form.join("&"));
        if has_form && self.one_in(12) {
            request.content_type = self.choose(&CONTENT_TYPES);
        }
        request
    }

    fn parameters(&mut self, method: &str, prefix: &str, key: &str) -> Vec<String> {
        let mut parameters = Vec::new();
        let is_write = ["PUT", "POST"].contains(&method);
        let mut add = |name: &str, value: &str| parameters.push(format!("{name}={value}"));
        let is_refresh = is_write && self.one_in(14);
        if is_write && (!is_refresh || self.one_in(6)) && !self.one_in(9) {
            add("value", self.choose(&VALUES));
        }
        if is_refresh {
            add("refresh", self.boolean());
        }
        if is_write && (self.one_in(5) || is_refresh && !self.one_in(5)) {
            let value = if self.one_in(6) { self.choose(&BAD_TTLS) } else { self.choose(&TTLS) };
            add("ttl", value);
        }
        for (name, rarity) in
            [("dir", 6), ("prevExist", 7), ("recursive", 5), ("sorted", 4), ("quorum", 9)]
        {
            if self.one_in(rarity) {
                add(name, self.boolean());
            }
        }
        if self.one_in(if is_write || method == "DELETE" { 5 } else { 40 }) {
            add("prevValue", self.choose(&VALUES));
        }
        if self.one_in(if is_write || method == "DELETE" { 8 } else { 40 }) {
            let known = self.modified.get(&format!("{prefix}{key}")).copied();
            match known.filter(|_| !self.one_in(4)) {
                Some(index) => add("prevIndex", &index.to_string()),
                None => add("prevIndex", self.choose(&NUMBERS)),
            }
        }
        let (dir, recursive) = if method == "DELETE" { (3, 3) } else { (12, 5) };
        for (name, rarity) in
            [("dir", dir), ("prevExist", 6), ("recursive", recursive), ("sorted", 5), ("quorum", 9)]
        {
            if self.one_in(rarity) {
                add(name, self.boolean());
            }
        }
        if self.one_in(50) {
            add("waitIndex", self.choose(&NUMBERS));
        }
        if self.one_in(40) {
            // A GET that waits is answered at once if it is a quorum read; the first of two counts.
            let wait = if method == "GET" { "quorum=true&wait=true" } else { "wait=true" };
            parameters.insert(0, wait.to_owned());
        }
        parameters
    }

    fn boolean(&mut self) -> &'static str {
        if self.one_in(9) {
            self.choose(&BOOLEANS)
        } else {
            self.choose(&["true", "true", "true", "false"])
        }
    }

    /// A watch in a directory of its own, which is removed at the end, so that the watched key can be
    /// written for sure.
    fn watch(&mut self) -> Operation {
        self.watches += 1;
        let place = format!("/w{}", self.watches);
        let key = self.choose(&["", "/a", "/a/b", "/_h", "/_h/x", "/d", "/a/_h"]);
        let before: Vec<Request> =
            (0..self.rng.random_range(0..4)).map(|_| self.safe(&place)).collect();
        let after = (0..self.rng.random_range(0..5)).map(|_| self.safe(&place));
        let mut after: Vec<Request> = after.collect();
        let is_recursive = self.one_in(2);
        let is_everything = is_recursive && self.one_in(6);
        let watched = if is_everything { String::new() } else { format!("{place}{key}") };
        let mut query = String::from("wait=true");
        if is_recursive {
            query.push_str("&recursive=true");
        }
        if self.one_in(2) {
            query.push_str("&stream=true");
        }
        if let Some(index) = self.wait_index(before.len()) {
            query.push_str(&format!("&waitIndex={index}"));
        }
        let slash = if self.one_in(10) { "/" } else { "" };
        let watch = Request::new("GET", format!("/v2/keys{watched}{slash}?{query}"), "");
        let delete = format!("/v2/keys{place}?recursive=true");
        after.push(Request::new("DELETE", delete, ""));
        let written = if is_everything { format!("{place}/x") } else { watched };
        let put = |number: usize| {
            let value = if number == LAST_WRITES {
                LAST_VALUE.replace(' ', "+")
            } else {
                number.to_string()
            };
            Request::new("PUT", format!("/v2/keys{written}"), &format!("value={value}"))
        };
        after.extend((1..=LAST_WRITES).map(put));
        Operation::Watch(WatchCase { before, watch, after, expirations: None })
    }

    /// None, far past, just past, or future: how far depends on how many of the writes succeed.
    fn wait_index(&mut self, writes: usize) -> Option<String> {
        let writes = i64::try_from(writes).unwrap_or(0);
        let index = match self.rng.random_range(0..12) {
            0..4 => return None,
            4 => self.rng.random_range(1..=self.index.max(1)),
            5 => 0,
            6..9 => self.index + self.rng.random_range(0..=writes + 1),
            9 => self.index + self.rng.random_range(0..=writes + 4),
            10 => self.index - 999 + self.rng.random_range(0..6),
            _ => return Some(self.choose(&["-1", "x", "", "99999999999999999999"]).to_owned()),
        };
        Some(index.max(0).to_string())
    }

    /// A request below `place` that a URL parser does not refuse.
    fn safe(&mut self, place: &str) -> Request {
        let mut request = self.request(place);
        while request.target.contains("..") || request.target.contains("//") {
            request = self.request(place);
        }
        request
    }

    /// Nodes that run out, and a stream that shows it; or one past the end of time, which never does.
    fn expiry(&mut self) -> Operation {
        self.watches += 1;
        let place = format!("/v2/keys/w{}", self.watches);
        if self.one_in(4) {
            let form = format!("value=x&ttl={TTL_PAST_THE_END}");
            return Operation::Plain(Request::new("PUT", format!("{place}/x"), &form));
        }
        let ttl = self.choose(&["0", "1", "18446744073709551615"]);
        let watch =
            Request::new("GET", format!("{place}?wait=true&recursive=true&stream=true"), "");
        let put = |name: &str, form: String| Request::new("PUT", format!("{place}{name}"), &form);
        let (after, expirations) = match self.rng.random_range(0..3) {
            0 => (vec![put("/x", format!("value=1&ttl={ttl}"))], 1),
            1 => {
                let directory = put("/d", "dir=true&ttl=1".to_owned());
                (
                    vec![
                        directory,
                        put("/d/x", "value=1&ttl=1".to_owned()),
                        put("/d/y", "value=2".to_owned()),
                    ],
                    1,
                )
            }
            _ => {
                let node = |name: &str| put(name, "value=1&ttl=1".to_owned());
                (vec![node("/b"), node("/a"), node("/_c"), node("/e")], 3)
            }
        };
        Operation::Watch(WatchCase {
            before: Vec::new(),
            watch,
            after,
            expirations: Some(expirations),
        })
    }

    fn large(&mut self) -> Request {
        // One byte too many: with more, Go's answer may be lost with the connection it gives up.
        let length = self.choose(&[FORM_BYTES_MAX + 1, FORM_BYTES_MAX, 2 << 20]);
        let form = format!("value={}", "v".repeat(length - "value=".len()));
        Request::new(self.choose(&["PUT", "POST"]), "/v2/keys/large", &form)
    }
}

impl Generator for Requests {
    type Operation = Operation;

    fn next(&mut self) -> Operation {
        match self.rng.random_range(0..1000) {
            0..880 => Operation::Plain(self.request(SHARED)),
            880..980 => self.watch(),
            980..984 => self.expiry(),
            984..986 => Operation::Plain(self.large()),
            _ => {
                let path = self.choose(&OTHER_PATHS);
                let method = self.choose(&["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"]);
                Operation::Plain(Request::new(method, path, ""))
            }
        }
    }

    fn learn(&mut self, operation: &Operation, reply: &Reply) {
        for (path, value) in reply.fields() {
            if path.ends_with("x-etcd-index") {
                self.index = self.index.max(value.parse().unwrap_or(0));
            }
        }
        if let (Operation::Plain(_), Some(key)) = (operation, reply.get("body.node.key")) {
            let modified = reply.number("body.node.modifiedIndex");
            self.modified.insert(key.to_owned(), modified);
        }
    }
}

//! What an item of the checklist works with: a server, names of its own, and texts that speak of
//! indexes relative to the one at its beginning.
//!
//! Invariants: in texts, `~` is the item's name, `@3` the index three operations after the beginning
//!             and `#3` the same as 20 digits.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use e2e::http::{self, Response};
use e2e::http_stream::{HttpStream, Next};
use e2e::{Addresses, Etcd, Program, Shared, Spec, TempDir, eventually};
use serde_json::Value;

/// How long an event or an answer may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// Status, code and message of what items may be refused with.
const ERRORS: &[(u16, u16, &str)] = &[
    (404, 100, "Key not found"),
    (412, 101, "Compare failed"),
    (403, 102, "Not a file"),
    (400, 104, "Not a directory"),
    (412, 105, "Key already exists"),
    (400, 107, "Root is read only"),
    (403, 108, "Directory not empty"),
    (400, 201, "PrevValue is Required in POST form"),
    (400, 202, "The given TTL in POST form is not a number"),
    (400, 203, "The given index in POST form is not a number"),
    (400, 209, "Invalid field"),
    (400, 210, "Invalid POST form"),
    (400, 211, "Value provided on refresh"),
    (400, 212, "A TTL must be provided on refresh"),
    (500, 300, "Raft Internal Error"),
    (400, 401, "The event in requested index is outdated and cleared"),
];

static OURS: Shared<Server> = Shared::new();
static GO: Shared<Server> = Shared::new();

/// A server with what it needs.
struct Server {
    // Dropped first.
    etcd: Etcd,
    turn: Mutex<()>,
    _addresses: Addresses,
    _directory: TempDir,
}

impl Server {
    #[track_caller]
    fn start(program: Program) -> Self {
        let (addresses, directory) = (Addresses::new(), TempDir::new("checklist-v2"));
        let spec = Etcd::builder(program).member("c", addresses.claim(), directory.path());
        let etcd = with_v2(program, spec).start();
        wait_cluster_version(etcd.client());
        Self { etcd, turn: Mutex::new(()), _addresses: addresses, _directory: directory }
    }
}

/// The settings that v2 needs.
pub(crate) fn with_v2(program: Program, spec: Spec) -> Spec {
    if program.is_go_34() { spec.set("enable-v2", "true") } else { spec }
}

/// Afterwards no write of the server itself moves the index.
#[track_caller]
pub(crate) fn wait_cluster_version(server: SocketAddr) {
    eventually("the cluster version", PATIENCE, || {
        let version = http::get(server, "/version").ok()?.body;
        version.contains(r#""etcdcluster":"3.4.0""#).then_some(())
    });
}

/// One item at work.
pub(crate) struct Case {
    server: Arc<Server>,
    name: String,
    base: u64,
}

impl Case {
    /// Runs an item on a server that others use too, one at a time.
    #[track_caller]
    pub(crate) fn shared(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        let slot = if program == Program::Ours { &OURS } else { &GO };
        let server = slot.get(|| Server::start(program));
        let turns = Arc::clone(&server);
        // An item that failed while it was its turn does not keep the others from theirs.
        let _turn = turns.turn.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut Self::new(server, item));
    }

    /// Runs an item on a fresh server.
    #[track_caller]
    pub(crate) fn alone(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        run(&mut Self::new(Arc::new(Server::start(program)), item));
    }

    fn new(server: Arc<Server>, item: &str) -> Self {
        let name = item.splitn(3, '_').take(2).collect();
        let mut case = Self { server, name, base: 0 };
        case.base = case.index();
        case
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.etcd.client()
    }

    /// Stops the server, lets `meanwhile` happen and starts it again; its item must be alone.
    #[track_caller]
    pub(crate) fn restart(&mut self, meanwhile: impl FnOnce()) {
        let server = Arc::get_mut(&mut self.server).expect("the item is alone on its server");
        let _ = server.etcd.terminate();
        meanwhile();
        server.etcd.restart();
    }

    /// The index of the store now.
    #[track_caller]
    pub(crate) fn index(&self) -> u64 {
        let reply = http::get(self.address(), "/v2/keys").expect("GET /v2/keys");
        reply.header("X-Etcd-Index").and_then(|text| text.parse().ok()).expect("X-Etcd-Index")
    }

    /// The index `steps` operations after the beginning.
    pub(crate) fn at(&self, steps: u64) -> u64 {
        self.base + steps
    }

    /// Replaces `~`, `@n` and `#n`.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(place) = rest.find(['~', '@', '#']) {
            filled.push_str(&rest[..place]);
            let mark = rest.as_bytes()[place];
            rest = &rest[place + 1..];
            if mark == b'~' {
                filled.push_str(&self.name);
                continue;
            }
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let index = self.at(rest[..digits].parse().expect("steps behind the mark"));
            rest = &rest[digits..];
            let shown = if mark == b'@' { format!("{index}") } else { format!("{index:020}") };
            filled.push_str(&shown);
        }
        filled + rest
    }

    /// Any request; `path` as the client writes it, from `/v2`.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply<'_> {
        let (path, body) = (self.fill(path), self.fill(body));
        let response = http::request(self.address(), method, &path, headers, &body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        Reply { case: self, what: format!("{method} {path} {body:.200}"), response }
    }

    #[track_caller]
    fn form(&self, method: &str, key: &str, body: &str) -> Reply<'_> {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request(method, &format!("/v2/keys{key}"), &headers, body)
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> Reply<'_> {
        self.request("GET", &format!("/v2/keys{key}"), &[], "")
    }

    #[track_caller]
    pub(crate) fn put(&self, key: &str, form: &str) -> Reply<'_> {
        self.form("PUT", key, form)
    }

    #[track_caller]
    pub(crate) fn post(&self, key: &str, form: &str) -> Reply<'_> {
        self.form("POST", key, form)
    }

    #[track_caller]
    pub(crate) fn delete(&self, key: &str) -> Reply<'_> {
        self.request("DELETE", &format!("/v2/keys{key}"), &[], "")
    }

    /// Opens a watch; `query` follows `wait=true`, with its `&`.
    #[track_caller]
    pub(crate) fn watch(&self, key: &str, query: &str) -> Watch<'_> {
        let path = self.fill(&format!("/v2/keys{key}?wait=true{query}"));
        let stream = HttpStream::open(self.address(), &path)
            .unwrap_or_else(|error| panic!("watch {path}: {error}"));
        Watch { case: self, path, stream }
    }
}

/// The answer to a request of a case.
pub(crate) struct Reply<'a> {
    case: &'a Case,
    what: String,
    pub(crate) response: Response,
}

impl Reply<'_> {
    /// A success with this body, apart from the times in it.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) {
        let expected = (status, self.case.fill(body) + "\n");
        let found = (self.response.status, without_times(&self.response.body));
        assert_eq!(found, expected, "{}", self.what);
        for name in ["X-Etcd-Index", "X-Raft-Index", "X-Raft-Term", "X-Etcd-Cluster-Id"] {
            assert!(self.response.header(name).is_some(), "{}: no {name}", self.what);
        }
    }

    /// A success, whatever its body.
    #[track_caller]
    pub(crate) fn has_status(&self, status: u16) -> &Self {
        let body = &self.response.body;
        assert_eq!(self.response.status, status, "{}: {body}", self.what);
        self
    }

    /// The error `code` with the index `steps` operations after the beginning.
    #[track_caller]
    pub(crate) fn fails(&self, code: u16, cause: &str, steps: u64) {
        self.is_error(code, cause, self.case.at(steps));
    }

    /// The error `code`, found before the store was asked: its index is 0.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, cause: &str) {
        self.is_error(code, cause, 0);
    }

    #[track_caller]
    fn is_error(&self, code: u16, cause: &str, index: u64) {
        let (status, body) = error_body(code, &self.case.fill(cause), index);
        assert_eq!(
            (self.response.status, self.response.body.as_str()),
            (status, body.as_str()),
            "{}",
            self.what
        );
        let index = index.to_string();
        assert_eq!(self.header("X-Etcd-Index"), index, "{}", self.what);
        assert_eq!(self.header("Content-Type"), "application/json", "{}", self.what);
        assert!(!self.header("X-Etcd-Cluster-Id").is_empty(), "{}", self.what);
        for absent in ["X-Raft-Index", "X-Raft-Term"] {
            assert_eq!(self.response.header(absent), None, "{}: {absent}", self.what);
        }
    }

    /// A header, empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.header(name).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.response.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.response.body))
    }
}

/// Status and body of an error.
pub(crate) fn error_body(code: u16, cause: &str, index: u64) -> (u16, String) {
    let row = ERRORS.iter().find(|row| row.1 == code).expect("a code of the table");
    let cause = match cause {
        "" => String::new(),
        text => format!(r#","cause":{}"#, Value::from(text)),
    };
    let body = format!(r#"{{"errorCode":{code},"message":"{}"{cause},"index":{index}}}"#, row.2);
    (row.0, body + "\n")
}

/// An open watch of a case.
pub(crate) struct Watch<'a> {
    case: &'a Case,
    path: String,
    stream: HttpStream,
}

impl Watch<'_> {
    pub(crate) fn head(&self) -> &Response {
        self.stream.head()
    }

    /// The next event, as text.
    #[track_caller]
    pub(crate) fn event(&mut self) -> String {
        match self.stream.next(PATIENCE) {
            Next::Line(line) => without_times(&line),
            other => panic!("watch {}: {other:?} instead of an event", self.path),
        }
    }

    /// The next event is this one.
    #[track_caller]
    pub(crate) fn sees(&mut self, event: &str) {
        assert_eq!(self.event(), self.case.fill(event), "watch {}", self.path);
    }

    /// The answer is complete.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        assert_eq!(self.stream.next(PATIENCE), Next::End, "watch {}", self.path);
    }

    /// Nothing has come up to now.
    #[track_caller]
    pub(crate) fn is_silent(&mut self) {
        assert_eq!(self.stream.next(Duration::ZERO), Next::Silence, "watch {}", self.path);
    }
}

/// Times of expiration are replaced by `T`.
fn without_times(body: &str) -> String {
    const MARK: &str = r#""expiration":""#;
    let mut shown = String::new();
    let mut rest = body;
    while let Some(place) = rest.find(MARK) {
        let time = place + MARK.len();
        let end = time + rest[time..].find('"').expect("end of the time");
        shown.push_str(&rest[..time]);
        shown.push('T');
        rest = &rest[end..];
    }
    shown + rest
}

/// A node that is a file, its indexes as steps.
pub(crate) fn file(key: &str, value: &str, modified: u64, created: u64) -> String {
    let indexes = format!(r#""modifiedIndex":@{modified},"createdIndex":@{created}"#);
    format!(r#"{{"key":"{key}","value":"{value}",{indexes}}}"#)
}

/// A file that was deleted.
pub(crate) fn no_file(key: &str, modified: u64, created: u64) -> String {
    format!(r#"{{"key":"{key}","modifiedIndex":@{modified},"createdIndex":@{created}}}"#)
}

/// A directory shown without children.
pub(crate) fn dir(key: &str, modified: u64, created: u64) -> String {
    dir_of(key, &[], modified, created)
}

/// A directory with the children shown in it.
pub(crate) fn dir_of(key: &str, children: &[String], modified: u64, created: u64) -> String {
    let nodes = match children {
        [] => String::new(),
        _ => format!(r#""nodes":[{}],"#, children.join(",")),
    };
    let indexes = format!(r#""modifiedIndex":@{modified},"createdIndex":@{created}"#);
    format!(r#"{{"key":"{key}","dir":true,{nodes}{indexes}}}"#)
}

/// What an operation on a node without a former one answers.
pub(crate) fn done(action: &str, node: &str) -> String {
    format!(r#"{{"action":"{action}","node":{node}}}"#)
}

/// What an operation on a node that was there before answers.
pub(crate) fn redone(action: &str, node: &str, former: &str) -> String {
    format!(r#"{{"action":"{action}","node":{node},"prevNode":{former}}}"#)
}

//! Loads of the v2 API: HTTP/1.1, one request under way on each connection.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::channel::{self, Failure};
use super::engine::{Engine, Outcome};
use super::fanout::FanOut;
use super::keys::{Names, Picker};
use super::kind::Kind;
use super::options::Options;
use super::process::Job;
use super::unary;

/// Connections that put the keys of a load.
const FILL_CONNECTIONS: u64 = 20;
const FORM: &str = "application/x-www-form-urlencoded";

/// A connection.
#[derive(Debug)]
struct Session {
    send: SendRequest<Full<Bytes>>,
    host: String,
}

/// An answer: status, X-Etcd-Index (0 without), body.
type Answer = (StatusCode, u64, Bytes);

impl Session {
    async fn connect(endpoint: &str) -> Result<Self> {
        let stream = TokioIo::new(channel::connect(endpoint).await?);
        let (send, connection) = hyper::client::conn::http1::handshake(stream).await?;
        // Its end is seen by the requests on it.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { send, host: endpoint.to_owned() })
    }

    async fn ask(&mut self, method: Method, path: &str, form: Bytes) -> Result<Answer, Failure> {
        let lost = |error: hyper::Error| Failure::Connection(format!("http: {error}"));
        self.send.ready().await.map_err(lost)?;
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        let request = if form.is_empty() { request } else { request.header("content-type", FORM) };
        let request = request.body(Full::new(form));
        let request = request.map_err(|error| Failure::Answer(error.to_string()))?;
        let response = self.send.send_request(request).await.map_err(lost)?;
        let index = response.headers().get("x-etcd-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok()).unwrap_or(0);
        let status = response.status();
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        Ok((status, index, body))
    }
}

/// What requests are made from.
struct Plan {
    names: Names,
    kind: Kind,
    form: Bytes,
}

impl Plan {
    fn new(options: &Options) -> Result<Self> {
        let names = Names::new(options.key_bytes, options.keys)?;
        let form = [b"value=".as_slice(), &unary::value(options)].concat();
        Ok(Self { names, kind: options.load, form: form.into() })
    }

    fn path(&self, index: u64) -> String {
        format!("/v2/keys/{}", String::from_utf8_lossy(&self.names.name(index)))
    }

    async fn set(&self, session: &mut Session, index: u64) -> Result<(), Failure> {
        let answer = session.ask(Method::PUT, &self.path(index), self.form.clone()).await?;
        is_good(&answer, &[StatusCode::OK, StatusCode::CREATED])
    }

    async fn once(&self, session: &mut Session, index: u64) -> Result<(), Failure> {
        if self.kind == Kind::V2Set {
            return self.set(session, index).await;
        }
        let quorum = if self.kind == Kind::V2QuorumGet { "?quorum=true" } else { "" };
        let path = self.path(index) + quorum;
        let answer = session.ask(Method::GET, &path, Bytes::new()).await?;
        is_good(&answer, &[StatusCode::OK])?;
        let name = self.names.name(index);
        let has_it = answer.2.windows(name.len()).any(|part| part == name);
        if has_it { Ok(()) } else { Err(Failure::Answer("not the key asked for".to_owned())) }
    }
}

fn is_good(answer: &Answer, wanted: &[StatusCode]) -> Result<(), Failure> {
    let (status, _, body) = answer;
    if wanted.contains(status) {
        return Ok(());
    }
    Err(Failure::Answer(format!("{status}: {}", String::from_utf8_lossy(body))))
}

/// Sets all keys, unless so many are there.
///
/// # Errors
/// When a server does not answer, or a set fails.
pub(super) async fn prepare(options: &Options) -> Result<()> {
    if !matches!(options.load, Kind::V2Get | Kind::V2QuorumGet) {
        return Ok(());
    }
    let fail = |failure: Failure| anyhow!("{}", failure.text());
    let plan = Rc::new(Plan::new(options)?);
    let endpoint = &options.endpoints[0];
    let mut session = Session::connect(endpoint).await?;
    let (first, _) = plan.names.all();
    let directory = format!("/v2/keys/{}", String::from_utf8_lossy(&first));
    let listing = session.ask(Method::GET, &directory, Bytes::new()).await.map_err(fail)?.2;
    // Each key has one, and the directory.
    let listed = String::from_utf8_lossy(&listing).matches("\"createdIndex\":").count();
    if crate::numbers::count(listed) > options.keys {
        return Ok(());
    }
    let next = Rc::new(Cell::new(0));
    let mut setters = JoinSet::new();
    for _ in 0..FILL_CONNECTIONS {
        let mut session = Session::connect(endpoint).await?;
        let (plan, next, keys) = (Rc::clone(&plan), Rc::clone(&next), options.keys);
        setters.spawn_local(async move {
            while next.get() < keys {
                next.set(next.get() + 1);
                plan.set(&mut session, next.get() - 1).await.map_err(fail)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = setters.join_next().await {
        ended?.context("set the keys of the load")?;
    }
    Ok(())
}

/// Sets or gets.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn run(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let plan = Rc::new(Plan::new(&job.options)?);
    let sessions = sessions(job, job.connections()).await?;
    ready()?;
    let engine = job.start(job.connections());
    let mut senders = JoinSet::new();
    for (user, session) in sessions.into_iter().enumerate() {
        let picker = job.picker().for_user(job.options.seed, job.process, user);
        senders.spawn_local(sender(Rc::clone(&engine), Rc::clone(&plan), session, picker));
    }
    engine.finish(senders).await
}

async fn sessions(job: &Job, wanted: u64) -> Result<Vec<Session>> {
    let mut sessions = Vec::new();
    for (_, endpoint) in (0..wanted).zip(job.options.endpoints.iter().cycle()) {
        sessions.push(Session::connect(endpoint).await?);
    }
    Ok(sessions)
}

async fn sender(engine: Rc<Engine>, plan: Rc<Plan>, mut session: Session, mut picker: Picker) {
    while let Some(ticket) = engine.next().await {
        match plan.once(&mut session, picker.next()).await {
            Ok(()) => engine.answered(ticket),
            Err(failure) => {
                engine.failed(&failure);
                if matches!(failure, Failure::Connection(_)) {
                    return;
                }
            }
        }
    }
}

/// Sets one key that all connections poll.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn watch(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let plan = Rc::new(Plan::new(&job.options)?);
    // Processes watch keys of their own.
    let key = job.process % job.options.keys;
    let watchers = job.connections();
    let mut sessions = sessions(job, watchers + 1).await?;
    let mut writer = sessions.pop().context("no connection")?;
    let seen = writer.ask(Method::GET, &plan.path(key), Bytes::new()).await;
    let seen = seen.map_err(|failure| anyhow!("{}", failure.text()))?.1;
    ready()?;
    let engine = job.start(1);
    let fan_out = FanOut::new(Rc::clone(&engine), 1);
    for session in sessions {
        tokio::task::spawn_local(poller(Rc::clone(&fan_out), session, plan.path(key), seen + 1));
    }
    let mut senders = JoinSet::new();
    let shared = Rc::clone(&engine);
    senders.spawn_local(async move {
        while let Some(ticket) = shared.next().await {
            fan_out.begin(0, watchers, ticket.due);
            if let Err(failure) = plan.set(&mut writer, key).await {
                return shared.failed(&failure);
            }
            if !fan_out.complete(0).await {
                return;
            }
            shared.counted(ticket);
        }
    });
    engine.finish(senders).await
}

async fn poller(fan_out: Rc<FanOut>, mut session: Session, path: String, mut index: u64) {
    loop {
        let path = format!("{path}?wait=true&waitIndex={index}");
        let event = match session.ask(Method::GET, &path, Bytes::new()).await {
            Ok(answer) => is_good(&answer, &[StatusCode::OK]).and_then(|()| modified(&answer.2)),
            Err(failure) => Err(failure),
        };
        match event {
            Ok(modified) => {
                fan_out.delivered(0);
                index = modified + 1;
            }
            Err(failure) => return fan_out.failed(&failure),
        }
    }
}

/// The index of an event: the first `modifiedIndex` is that of its node.
fn modified(body: &[u8]) -> Result<u64, Failure> {
    let text = String::from_utf8_lossy(body);
    let number = text.split_once("\"modifiedIndex\":").map(|(_, rest)| {
        rest.bytes()
            .take_while(u8::is_ascii_digit)
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    });
    number.ok_or_else(|| Failure::Answer(format!("no event: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_an_event_is_that_of_its_node() {
        let body = br#"{"action":"set","node":{"key":"/a","modifiedIndex":12,"createdIndex":12},
            "prevNode":{"key":"/a","modifiedIndex":7,"createdIndex":7}}"#;
        assert_eq!(modified(body), Ok(12));
        assert!(modified(b"{}").is_err());
    }
}

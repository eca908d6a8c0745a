//! Watchers of v3: many that see what is written now, or some that read the past.
//!
//! Invariants: each connection carries one stream with its part of the watchers; a write counts when
//!             all its watchers have seen it.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use h2::SendStream;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use tokio::task::JoinSet;

use super::channel::{Channel, Failure, Head, Reply};
use super::engine::{Engine, Outcome};
use super::fanout::FanOut;
use super::keys::Names;
use super::kind::Kind;
use super::message::{self, Field, Stamp, Template};
use super::process::Job;
use super::unary;
use crate::numbers::{count, size};

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Writes what all watchers see, or one each.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn fan_out(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let options = &job.options;
    let channels = job.connect().await?;
    let names = Names::new(options.key_bytes, options.watchers.max(options.processes))?;
    let is_one = options.load == Kind::WatchOne;
    let watchers = job.share(options.watchers);
    // Processes watch keys of their own.
    let first =
        if is_one { job.process } else { job.process * options.watchers / options.processes };
    let first = first.min(options.watchers.max(options.processes) - watchers.max(1));
    let mut streams = Vec::new();
    for (place, channel) in channels.iter().enumerate() {
        let mine = (place..size(watchers)).step_by(channels.len());
        let keys = mine.map(|watcher| first + if is_one { 0 } else { count(watcher) });
        let keys: Vec<Bytes> = keys.map(|index| names.name(index).into()).collect();
        if !keys.is_empty() {
            streams.push(watch(channel, &keys).await?);
        }
    }
    ready()?;
    let writers = if is_one { options.outstanding } else { job.senders() };
    let engine = job.start(writers);
    let fan_out = FanOut::new(Rc::clone(&engine), writers);
    // A stream ends when its sending half is dropped.
    let mut halves = Vec::new();
    for (replies, half) in streams {
        halves.push(half);
        tokio::task::spawn_local(reader(Rc::clone(&fan_out), replies));
    }
    let value = unary::value(options);
    let key = Bytes::copy_from_slice(names.first());
    let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
    let template = Rc::new(Template::new(&put, names.first(), &value));
    let turn = Rc::new(Cell::new(0));
    let mut senders = JoinSet::new();
    for (writer, channel) in (0..writers).zip(channels.iter().cycle()) {
        let writer = Writer {
            fan_out: Rc::clone(&fan_out),
            channel: channel.clone(),
            head: channel.head(unary::PUT)?,
            template: Rc::clone(&template),
            first,
            keys: if is_one { 1 } else { watchers },
            watchers: if is_one { watchers } else { 1 },
            turn: Rc::clone(&turn),
            number: writer,
        };
        senders.spawn_local(writer.run(Rc::clone(&engine)));
    }
    engine.finish(senders).await
}

struct Writer {
    fan_out: Rc<FanOut>,
    channel: Channel,
    head: Head,
    template: Rc<Template>,
    /// Its keys, used in turn by all writers.
    first: u64,
    keys: u64,
    turn: Rc<Cell<u64>>,
    /// Watchers of each key.
    watchers: u64,
    number: u64,
}

impl Writer {
    async fn run(mut self, engine: Rc<Engine>) {
        while let Some(ticket) = engine.next().await {
            let index = self.first + self.turn.get() % self.keys;
            self.turn.set(self.turn.get() + 1);
            let stamp = Stamp { sent: ticket.due, number: self.number };
            self.fan_out.begin(self.number, self.watchers, ticket.due);
            let frame = self.template.fill(|_| index, stamp);
            if let Err(failure) = self.channel.unary(&self.head, frame).await {
                // Whether its events come is not known: no more from this writer.
                return engine.failed(&failure);
            }
            if !self.fan_out.complete(self.number).await {
                return;
            }
            engine.counted(ticket);
        }
    }
}

/// Opens a stream and creates a watcher for each key, and waits until all are there.
async fn watch(channel: &Channel, keys: &[Bytes]) -> Result<(Reply, SendStream<Bytes>)> {
    let lost = |failure: Failure| anyhow!("create watchers: {}", failure.text());
    let mut channel = channel.clone();
    let head = channel.head(WATCH)?;
    let (mut replies, mut requests) = channel.begin(&head).await.map_err(lost)?;
    for key in keys {
        let create = WatchCreateRequest { key: key.clone(), ..WatchCreateRequest::default() };
        requests.send_data(create_frame(create), false)?;
    }
    let mut created = 0;
    while created < keys.len() {
        let reply = next(&mut replies).await.map_err(lost)?;
        created += usize::from(message::number(&reply, 3).map_err(|text| anyhow!(text))? == 1);
    }
    Ok((replies, requests))
}

fn create_frame(create: WatchCreateRequest) -> Bytes {
    let request_union = Some(RequestUnion::CreateRequest(create));
    message::frame(&WatchRequest { request_union }).into()
}

async fn next(replies: &mut Reply) -> Result<Bytes, Failure> {
    let reply = replies.message().await?;
    reply.ok_or_else(|| Failure::Answer("the watch stream ended".to_owned()))
}

async fn reader(fan_out: Rc<FanOut>, mut replies: Reply) {
    loop {
        let seen = match next(&mut replies).await {
            Ok(reply) => events(&reply, |event| fan_out.delivered(event)).map_err(Failure::Answer),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = seen {
            return fan_out.failed(&failure);
        }
    }
}

/// Calls `see` with the writer of each event of a watch reply.
fn events(reply: &[u8], mut see: impl FnMut(u64)) -> Result<(), String> {
    let mut problem = None;
    message::fields(reply, |tag, field| match (tag, field) {
        (11, Field::Bytes(event)) => match writer(event) {
            Ok(writer) => see(writer),
            Err(text) => problem = Some(text),
        },
        (4, Field::Number(1)) => problem = Some("the watcher was cancelled".to_owned()),
        _ => {}
    })?;
    problem.map_or(Ok(()), Err)
}

fn writer(event: &[u8]) -> Result<u64, String> {
    let value = message::nested(message::nested(event, 2)?, 5)?;
    let stamp = Stamp::of(value).ok_or("an event without a stamp")?;
    Ok(stamp.number)
}

/// Reads so many events of the past, again and again, each time with a new stream.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn catch_up(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let channels = job.connect().await?;
    let (key, end) = Names::new(job.options.key_bytes, job.options.keys)?.all();
    let create = create_frame(WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision: i64::try_from(job.found.history)?,
        ..WatchCreateRequest::default()
    });
    ready()?;
    let engine = job.start(job.senders());
    let mut senders = JoinSet::new();
    for (_, channel) in (0..job.senders()).zip(channels.iter().cycle()) {
        let (engine, create, mut channel) = (Rc::clone(&engine), create.clone(), channel.clone());
        let (head, wanted) = (channel.head(WATCH)?, job.options.limit);
        senders.spawn_local(async move {
            while let Some(ticket) = engine.next().await {
                match read_past(&engine, &mut channel, &head, create.clone(), wanted).await {
                    Ok(()) => engine.answered(ticket),
                    Err(failure) => return engine.failed(&failure),
                }
            }
        });
    }
    engine.finish(senders).await
}

async fn read_past(
    engine: &Engine,
    channel: &mut Channel,
    head: &Head,
    create: Bytes,
    wanted: u64,
) -> Result<(), Failure> {
    let (mut replies, mut requests) = channel.begin(head).await?;
    requests.send_data(create, false)?;
    let mut seen = 0;
    while seen < wanted {
        let reply = next(&mut replies).await?;
        let before = seen;
        message::fields(&reply, |tag, _| seen += u64::from(tag == 11)).map_err(Failure::Answer)?;
        if message::number(&reply, 4).map_err(Failure::Answer)? == 1 {
            return Err(Failure::Answer("the watcher was cancelled".to_owned()));
        }
        (before..seen).for_each(|_| engine.event(None));
    }
    if seen == wanted {
        Ok(())
    } else {
        Err(Failure::Answer(format!("{seen} events, not {wanted}")))
    }
}

//! Loads of one request and one reply each.
//!
//! Invariants: a reply that is not what must come is a failure, but is looked at no more than that
//!             takes.

use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::channel::{Channel, Failure, Head};
use super::engine::Engine;
use super::keys::{Names, Picker};
use super::kind::{FILL_PUTS, Kind};
use super::message::{self, Field, Stamp, Template};
use super::options::Options;

pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
/// Share of puts in the load `mixed`.
const MIXED_PUTS: f64 = 0.1;

/// What the requests of a load are made from.
#[derive(Debug)]
pub(super) struct Plan {
    main: Step,
    /// What is done instead with this probability.
    other: Option<(Step, f64)>,
}

#[derive(Debug)]
struct Step {
    head: Head,
    /// Used in turn.
    templates: Vec<Template>,
    pick: Pick,
    check: Check,
}

/// Which keys a request names.
#[derive(Clone, Copy, Debug)]
enum Pick {
    /// None that changes.
    Nothing,
    /// One, each time the same.
    Key,
    /// One that was not named before.
    Unused,
    /// So many neighbours.
    Span(u64),
    /// So many neighbours that were not named before, by name.
    Block(u64),
}

/// What a reply must say.
#[derive(Debug)]
enum Check {
    /// That it succeeded.
    Status,
    /// The pair of this key.
    Pair(Names),
    /// So many pairs, whether there are more, of how many (0: not known).
    Pairs { pairs: u64, more: bool, count: u64 },
    /// One key was deleted.
    Deleted,
    /// The compares held.
    Succeeded,
}

impl Plan {
    /// For this load, when `count` keys are there; `leases` of the load `put-lease`.
    ///
    /// # Errors
    /// When names do not fit into keys.
    pub(super) fn new(
        options: &Options,
        channel: &Channel,
        count: u64,
        leases: &[i64],
    ) -> Result<Self> {
        let names = Names::new(options.key_bytes, options.keys)?;
        let value = value(options);
        let make = Maker { options, names: &names, value: &value };
        let (method, templates, pick, check) = match options.load {
            Kind::PutLease => (PUT, make.puts(leases), Pick::Key, Check::Status),
            Kind::Fill => {
                let puts = options.keys.min(FILL_PUTS);
                (TXN, vec![make.fill(puts)], Pick::Block(puts), Check::Succeeded)
            }
            Kind::Txn => (TXN, vec![make.compare_and_put()], Pick::Key, Check::Succeeded),
            Kind::Delete => (DELETE, vec![make.delete()], Pick::Unused, Check::Deleted),
            Kind::Get | Kind::GetSerializable | Kind::Mixed => {
                (RANGE, vec![make.get()], Pick::Key, Check::Pair(names.clone()))
            }
            Kind::Range | Kind::KeysOnly => {
                let pairs = options.limit;
                let check = Check::Pairs { pairs, more: false, count: pairs };
                (RANGE, vec![make.span()], Pick::Span(pairs), check)
            }
            Kind::Page | Kind::CountOnly => {
                let pairs = if options.load == Kind::Page { options.limit } else { 0 };
                let more = pairs > 0 && pairs < count;
                (RANGE, vec![make.all()], Pick::Nothing, Check::Pairs { pairs, more, count })
            }
            _ => (PUT, make.puts(&[0]), Pick::Key, Check::Status),
        };
        let main = Step { head: channel.head(method)?, templates, pick, check };
        let other = if options.load == Kind::Mixed {
            let head = channel.head(PUT)?;
            let templates = make.puts(&[0]);
            Some((Step { head, templates, pick: Pick::Key, check: Check::Status }, MIXED_PUTS))
        } else {
            None
        };
        Ok(Self { main, other })
    }
}

/// The value that is put, before its stamp: text that does not compress to nothing.
pub(super) fn value(options: &Options) -> Bytes {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789".iter().copied().cycle();
    letters.step_by(7).take(crate::numbers::size(options.value_bytes)).collect()
}

/// Makes messages.
struct Maker<'a> {
    options: &'a Options,
    names: &'a Names,
    value: &'a Bytes,
}

impl Maker<'_> {
    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.names.first())
    }

    fn template(&self, message: &impl prost::Message) -> Template {
        Template::new(message, self.names.first(), self.value)
    }

    fn put(&self) -> PutRequest {
        PutRequest { key: self.key(), value: self.value.clone(), ..PutRequest::default() }
    }

    fn puts(&self, leases: &[i64]) -> Vec<Template> {
        let put = |lease: &i64| self.template(&PutRequest { lease: *lease, ..self.put() });
        leases.iter().map(put).collect()
    }

    fn fill(&self, puts: u64) -> Template {
        let put = |_| RequestOp { request: Some(Request::RequestPut(self.put())) };
        let success = (0..puts).map(put).collect();
        self.template(&TxnRequest { success, ..TxnRequest::default() })
    }

    fn compare_and_put(&self) -> Template {
        let compare = |target: CompareTarget, result: CompareResult, union| Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(),
            target_union: Some(union),
            ..Compare::default()
        };
        let (greater, differs) = (CompareResult::Greater, CompareResult::NotEqual);
        let other = Bytes::from_static(b"no value");
        let compare = vec![
            compare(CompareTarget::Mod, greater, TargetUnion::ModRevision(0)),
            compare(CompareTarget::Version, greater, TargetUnion::Version(0)),
            compare(CompareTarget::Value, differs, TargetUnion::Value(other)),
        ];
        let success = vec![RequestOp { request: Some(Request::RequestPut(self.put())) }];
        self.template(&TxnRequest { compare, success, ..TxnRequest::default() })
    }

    fn delete(&self) -> Template {
        self.template(&DeleteRangeRequest { key: self.key(), ..DeleteRangeRequest::default() })
    }

    fn get(&self) -> Template {
        let serializable = self.options.load == Kind::GetSerializable;
        let get = RangeRequest { key: self.key(), serializable, ..RangeRequest::default() };
        self.template(&get)
    }

    fn span(&self) -> Template {
        let keys_only = self.options.load == Kind::KeysOnly;
        let (key, range_end) = (self.key(), self.key());
        self.template(&RangeRequest { key, range_end, keys_only, ..RangeRequest::default() })
    }

    fn all(&self) -> Template {
        let is_count = self.options.load == Kind::CountOnly;
        let limit = if is_count { 0 } else { i64::try_from(self.options.limit).unwrap_or(0) };
        self.template(&RangeRequest { limit, count_only: is_count, ..all(self.names) })
    }
}

/// All keys of these names.
pub(super) fn all(names: &Names) -> RangeRequest {
    let (key, end) = names.all();
    RangeRequest { key: key.into(), range_end: end.into(), ..RangeRequest::default() }
}

/// Makes the requests of one sender.
#[derive(Debug)]
pub(super) struct Source {
    plan: Rc<Plan>,
    picker: Picker,
    keys: u64,
    number: u64,
}

/// A request, and what it must be answered with.
struct Call<'a> {
    head: &'a Head,
    frame: Bytes,
    check: &'a Check,
    index: u64,
}

impl Source {
    /// With this chooser of keys.
    pub(super) fn new(plan: Rc<Plan>, picker: Picker, keys: u64) -> Self {
        Self { plan, picker, keys, number: 0 }
    }

    /// Sends the next request, with this time in it; nothing when all keys are used up.
    pub(super) async fn send(
        &mut self,
        channel: &mut Channel,
        sent: u64,
    ) -> Option<Result<(), Failure>> {
        let call = self.next(sent)?;
        let reply = channel.unary(call.head, call.frame).await;
        Some(reply.and_then(|reply| check(call.check, call.index, &reply).map_err(Failure::Answer)))
    }

    /// The next request; nothing when all keys are used up.
    fn next(&mut self, sent: u64) -> Option<Call<'_>> {
        let step = match &self.plan.other {
            Some((other, share)) if self.picker.chance(*share) => other,
            Some(_) | None => &self.plan.main,
        };
        self.number += 1;
        let template = &step.templates[crate::numbers::size(self.number) % step.templates.len()];
        let stamp = Stamp { sent, number: self.number };
        let last = self.keys - 1;
        let index = match step.pick {
            Pick::Nothing => 0,
            Pick::Key => self.picker.next(),
            Pick::Unused => self.picker.next_unused()?,
            Pick::Span(span) => self.picker.next().min(self.keys - span),
            // The last block may begin within the one before.
            Pick::Block(puts) => {
                let block = self.picker.next_unused().filter(|block| block * puts <= last)?;
                (block * puts).min(self.keys - puts)
            }
        };
        let frame = match step.pick {
            Pick::Nothing | Pick::Key | Pick::Unused => template.fill(|_| index, stamp),
            Pick::Span(span) => {
                template.fill(|place| if place == 0 { index } else { index + span }, stamp)
            }
            Pick::Block(_) => template.fill(|place| index + crate::numbers::count(place), stamp),
        };
        Some(Call { head: &step.head, frame, check: &step.check, index })
    }
}

/// Sends requests one after the other until the load is over or the connection lost.
pub(super) async fn sender(engine: Rc<Engine>, mut channel: Channel, mut source: Source) {
    while let Some(ticket) = engine.next().await {
        match source.send(&mut channel, ticket.due).await {
            Some(Ok(())) => engine.answered(ticket),
            Some(Err(failure)) => {
                engine.failed(&failure);
                if matches!(failure, Failure::Connection(_)) {
                    return;
                }
            }
            None => return engine.exhausted(),
        }
    }
}

fn check(check: &Check, index: u64, reply: &[u8]) -> Result<(), String> {
    let must = |holds: bool, text: &str| if holds { Ok(()) } else { Err(text.to_owned()) };
    match check {
        Check::Status => Ok(()),
        Check::Deleted => must(message::number(reply, 2)? == 1, "not one key deleted"),
        Check::Succeeded => must(message::number(reply, 2)? == 1, "compares did not hold"),
        Check::Pair(names) => {
            let key = message::nested(message::nested(reply, 2)?, 1)?;
            must(names.is(key, index), "not the pair that was asked for")
        }
        Check::Pairs { pairs, more, count } => {
            let (mut seen, mut said_more, mut said_count) = (0, false, 0);
            message::fields(reply, |tag, field| match (tag, field) {
                (2, Field::Bytes(_)) => seen += 1,
                (3, Field::Number(value)) => said_more = value == 1,
                (4, Field::Number(value)) => said_count = value,
                _ => {}
            })?;
            if (seen, said_more, said_count) == (*pairs, *more, *count) {
                return Ok(());
            }
            Err(format!(
                "{seen} pairs (more: {said_more}) of {said_count}, not {pairs} (more: {more}) of {count}"
            ))
        }
    }
}

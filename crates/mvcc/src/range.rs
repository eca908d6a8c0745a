//! Ranges: a cursor at a fixed revision that can be stepped, and the reply made of what it found.
//!
//! Owns:       the progress of one range.
//! Uses:       `store`, `key_entry`, `kv`; `History` for values that are no longer the latest.
//! Never:      decoding of pairs that are only passed on.
//! Invariants: all that is collected belongs to one revision, however many steps it took; a step
//!             after a compaction past that revision began to delete is an error, never a short
//!             answer.
//! Source:     api-v3.md 2.2.

use std::cmp::Ordering;

use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use types::{EtcdError, KeyRange, RevKey};

use crate::history::{History, HistoryFault};
use crate::key_entry::{KeyEntry, Origin};
use crate::kv::{KvView, Pair};
use crate::store::Store;

/// Answer to a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// Pairs as stored protobuf messages, in the order asked for.
    pub kvs: Vec<Pair>,
    /// Whether the limit cut pairs off.
    pub more: bool,
    /// Keys in the range, whatever limit and filters say.
    pub count: i64,
    /// Revision of the store when the range began: what the header says.
    pub revision: i64,
}

/// Whether a cursor has come to the end of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum CursorStep {
    /// Another step is needed.
    More,
    /// Everything is collected.
    Done,
}

/// A range at a fixed revision, collected in steps between which the store may change.
#[derive(Clone, Debug)]
pub struct RangeCursor {
    range: KeyRange,
    read_revision: i64,
    header_revision: i64,
    limit: Option<usize>,
    order: Order,
    /// Whether the limit counts in the order of keys, before sorting.
    is_cut_first: bool,
    filters: Filters,
    shape: Shape,
    visited: Option<Box<[u8]>>,
    items: Vec<Item>,
    /// Pairs handed out by [`RangeCursor::drain`].
    drained: usize,
    count: Count,
}

/// Keys in the range that are visible at the revision that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// As far as they were visited: the revision is an old one, or all are visited anyway.
    Visited(usize),
    /// All of them, told by the index: there is no need to visit those that are only counted.
    Known(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Full,
    CountOnly,
    /// Keys and numbers, answered from the index; without leases, as etcd 3.7.
    Keys,
    /// Sorted by value first, then the values are cut out.
    KeysByValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Natural,
    Sorted { target: SortTarget, descending: bool },
}

#[derive(Clone, Copy, Debug)]
struct Filters {
    min_mod: i64,
    max_mod: i64,
    min_create: i64,
    max_create: i64,
}

#[derive(Clone, Debug)]
struct Item {
    source: Source,
    /// The number that is sorted by, if any.
    rank: i64,
}

#[derive(Clone, Debug)]
enum Source {
    Ready(Pair),
    Stored(RevKey),
}

impl Store {
    /// Answers a range in one go.
    ///
    /// # Errors
    ///
    /// The inner error is the client's: a compacted or a future revision. The outer one is a fault.
    pub fn range(
        &self,
        request: &RangeRequest,
        history: &dyn History,
    ) -> Result<Result<RangeReply, EtcdError>, HistoryFault> {
        self.range_at(request, self.current_revision, history)
    }

    /// As [`Store::range`], with the revision that counts as current: inside a transaction that has
    /// changed something it is the next one.
    pub(crate) fn range_at(
        &self,
        request: &RangeRequest,
        current: i64,
        history: &dyn History,
    ) -> Result<Result<RangeReply, EtcdError>, HistoryFault> {
        let mut cursor = match self.cursor_at(request, current) {
            Ok(cursor) => cursor,
            Err(error) => return Ok(Err(error)),
        };
        match cursor.step(self, usize::MAX) {
            Ok(CursorStep::Done) => {}
            Ok(CursorStep::More) => return Err(HistoryFault("range did not end".to_owned())),
            Err(error) => return Ok(Err(error)),
        }
        // Under the lock no row can have gone: one that is missing is a fault.
        let missing = |revision: RevKey| HistoryFault(format!("no row at {revision:?}"));
        cursor.assemble(history, &missing).map(Ok)
    }

    /// Begins a range that is read in steps, at the revision asked for or the current one.
    ///
    /// # Errors
    ///
    /// When the revision is compacted or in the future.
    pub fn cursor(&self, request: &RangeRequest) -> Result<RangeCursor, EtcdError> {
        self.cursor_at(request, self.current_revision)
    }

    pub(crate) fn cursor_at(
        &self,
        request: &RangeRequest,
        current: i64,
    ) -> Result<RangeCursor, EtcdError> {
        if request.revision > current {
            return Err(EtcdError::FutureRev);
        }
        let read_revision = if request.revision <= 0 { current } else { request.revision };
        if read_revision < self.compacted_revision {
            return Err(EtcdError::Compacted);
        }
        let order = Order::of(request);
        let filters = Filters::of(request);
        // etcd looks at the order only: without one, the pairs to be sorted are the first ones of
        // the range, whatever they are sorted by (`txn/range.go`).
        let is_cut_first = request.sort_order == i32::from(SortOrder::None) && !filters.any();
        let range = KeyRange::from_request(request.key.clone(), request.range_end.clone());
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let shape = Shape::of(request, order);
        let is_cut = shape == Shape::CountOnly || limit.is_some();
        // All that is live now is what is visible at the newest revision of the index.
        let count = if is_cut && read_revision == current {
            Count::Known(self.count_live(&range))
        } else {
            Count::Visited(0)
        };
        Ok(RangeCursor {
            range,
            read_revision,
            header_revision: current,
            limit,
            is_cut_first: is_cut_first || order == Order::Natural,
            order,
            filters,
            shape,
            visited: None,
            items: Vec::new(),
            drained: 0,
            count,
        })
    }
}

impl RangeCursor {
    /// The revision that is read; register it to keep deletions away while the cursor lives.
    #[must_use]
    pub fn read_revision(&self) -> i64 {
        self.read_revision
    }

    /// Whether [`RangeCursor::into_reply`] will have to fetch values by revision.
    #[must_use]
    pub fn needs_history(&self) -> bool {
        self.items.iter().any(|item| matches!(item.source, Source::Stored(_)))
    }

    /// Visits at most `keys_max` further keys of the index.
    ///
    /// # Errors
    ///
    /// When a compaction past the revision that is read has begun to delete.
    pub fn step(&mut self, store: &Store, keys_max: usize) -> Result<CursorStep, EtcdError> {
        self.advance(store, keys_max).map(|(step, _)| step)
    }

    /// As [`RangeCursor::step`], with the number of keys visited.
    pub(crate) fn advance(
        &mut self,
        store: &Store,
        keys_max: usize,
    ) -> Result<(CursorStep, usize), EtcdError> {
        if self.read_revision < store.trimmed_revision {
            return Err(EtcdError::Compacted);
        }
        if self.is_complete() {
            return Ok((CursorStep::Done, 0));
        }
        let range = self.range.clone();
        let after = self.visited.take();
        let mut entries = store.entries(&range, after.as_deref());
        // Inside a transaction the index is one revision ahead of the store.
        let is_newest = self.read_revision >= store.current_revision.max(self.header_revision);
        let mut last = None;
        let mut visited = 0;
        for entry in entries.by_ref().take(keys_max) {
            if is_newest {
                self.visit_newest(entry);
            } else if let Some(position) = entry.visible_at(self.read_revision) {
                self.visit(entry, position);
            }
            visited += 1;
            last = Some(entry);
            if self.is_complete() {
                return Ok((CursorStep::Done, visited));
            }
        }
        let step = if entries.next().is_some() { CursorStep::More } else { CursorStep::Done };
        self.visited = last.map(|entry| Box::from(entry.key())).or(after);
        Ok((step, visited))
    }

    /// Pairs that [`RangeCursor::drain`] would hand out.
    #[must_use]
    pub fn pending(&self) -> usize {
        let allowed = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(self.drained));
        self.items.len().min(allowed)
    }

    /// Visits further keys for a piece of at most `pairs_max` pairs, at most `keys_max` of them: as
    /// many as pairs are missing, or all of them once there is nothing left but to count.
    ///
    /// # Errors
    ///
    /// As [`RangeCursor::step`].
    pub fn step_piece(
        &mut self,
        store: &Store,
        pairs_max: usize,
        keys_max: usize,
    ) -> Result<CursorStep, EtcdError> {
        let missing = if self.only_counts() {
            keys_max
        } else {
            pairs_max.saturating_sub(self.pending()).min(keys_max)
        };
        if missing == 0 {
            return Ok(CursorStep::More);
        }
        self.step(store, missing)
    }

    /// Hands out pairs collected since the last call, in natural order whatever was asked for: all of
    /// them, or as many as bring the piece to `bytes_max`, but one at least.
    ///
    /// # Errors
    ///
    /// As [`RangeCursor::into_reply`].
    pub fn drain(
        &mut self,
        bytes_max: usize,
        history: &dyn History,
    ) -> Result<Result<Vec<Pair>, EtcdError>, HistoryFault> {
        let (mut kvs, mut bytes) = (Vec::new(), 0);
        for item in self.items.iter().take(self.pending()) {
            if bytes >= bytes_max && !kvs.is_empty() {
                break;
            }
            let pair = match &item.source {
                Source::Ready(pair) => pair.clone(),
                Source::Stored(at) => match history.value(*at)? {
                    Some(row) => Pair::from(&row[..]),
                    None => return Ok(Err(EtcdError::Compacted)),
                },
            };
            bytes += pair.len();
            kvs.push(pair);
        }
        self.items.drain(..kvs.len());
        self.drained += kvs.len();
        Ok(Ok(kvs))
    }

    /// What a drained cursor says at its end: a reply without pairs.
    #[must_use]
    pub fn summary(&self) -> RangeReply {
        let collected = self.drained + self.items.len();
        RangeReply {
            kvs: Vec::new(),
            more: self.limit.is_some_and(|limit| collected > limit),
            count: self.count.total(),
            revision: self.header_revision,
        }
    }

    /// Fetches what must be fetched by revision and makes the reply.
    ///
    /// # Errors
    ///
    /// The inner error is the client's: a row has gone because of a compaction after the last step.
    /// The outer one is a fault.
    pub fn into_reply(
        self,
        history: &dyn History,
    ) -> Result<Result<RangeReply, EtcdError>, HistoryFault> {
        match self.assemble(history, &|_| Interrupted::Compacted) {
            Ok(reply) => Ok(Ok(reply)),
            Err(Interrupted::Compacted) => Ok(Err(EtcdError::Compacted)),
            Err(Interrupted::Fault(fault)) => Err(fault),
        }
    }

    /// Takes up a key at the current revision, where nothing but the latest pair counts.
    #[inline]
    fn visit_newest(&mut self, entry: &KeyEntry) {
        let Some(pair) = entry.latest() else { return };
        let takes_all = self.shape == Shape::Full
            && matches!(self.order, Order::Natural)
            && !self.filters.any()
            && !self.only_counts();
        if takes_all {
            self.count.add_one();
            self.items.push(Item { source: Source::Ready(pair.clone()), rank: 0 });
        } else {
            self.visit(entry, entry.len() - 1);
        }
    }

    fn visit(&mut self, entry: &KeyEntry, position: usize) {
        self.count.add_one();
        if self.only_counts() {
            return;
        }
        let revision = entry.change(position).revision();
        let needs_origin =
            self.shape == Shape::Keys || self.filters.need_origin() || self.order.needs_origin();
        let origin = if needs_origin { entry.origin(position) } else { Origin::default() };
        if !self.filters.pass(revision.main, origin.create_revision) {
            return;
        }
        let source = match (self.shape, entry.latest_at(position)) {
            (Shape::Keys, _) => Source::Ready(index_pair(entry.key(), revision, origin)),
            (_, Some(pair)) => Source::Ready(pair.clone()),
            (_, None) => Source::Stored(revision),
        };
        self.items.push(Item { source, rank: self.order.rank(revision, origin) });
    }

    /// Whether further pairs are only counted: one beyond the limit is what `more` needs.
    fn only_counts(&self) -> bool {
        let collected = self.drained + self.items.len();
        let is_full = self.is_cut_first && self.limit.is_some_and(|limit| collected > limit);
        self.shape == Shape::CountOnly || is_full
    }

    /// Whether there is nothing left to be found out.
    fn is_complete(&self) -> bool {
        matches!(self.count, Count::Known(_)) && self.only_counts()
    }

    fn assemble<E: From<HistoryFault>>(
        mut self,
        history: &dyn History,
        missing: &dyn Fn(RevKey) -> E,
    ) -> Result<RangeReply, E> {
        let fetch = |source: Source| match source {
            Source::Ready(pair) => Ok(pair),
            Source::Stored(at) => {
                let row = history.value(at)?;
                row.map(|row| Pair::from(&row[..])).ok_or_else(|| missing(at))
            }
        };
        let mut items = std::mem::take(&mut self.items);
        if let Order::Sorted { target, descending } = self.order {
            if target == SortTarget::Value {
                for item in &mut items {
                    let source =
                        std::mem::replace(&mut item.source, Source::Stored(RevKey::default()));
                    item.source = Source::Ready(fetch(source)?);
                }
            }
            sort(&mut items, target, descending);
        }
        let more = self.limit.is_some_and(|limit| items.len() > limit);
        items.truncate(self.limit.unwrap_or(usize::MAX));
        let mut kvs = Vec::with_capacity(items.len());
        for item in items {
            let pair = fetch(item.source)?;
            kvs.push(if self.shape == Shape::KeysByValue { without_value(&pair)? } else { pair });
        }
        Ok(RangeReply { kvs, more, count: self.count.total(), revision: self.header_revision })
    }
}

enum Interrupted {
    Compacted,
    Fault(HistoryFault),
}

impl From<HistoryFault> for Interrupted {
    fn from(fault: HistoryFault) -> Self {
        Self::Fault(fault)
    }
}

impl Shape {
    fn of(request: &RangeRequest, order: Order) -> Self {
        let by_value = matches!(order, Order::Sorted { target: SortTarget::Value, .. });
        match (request.count_only, request.keys_only) {
            (true, _) => Self::CountOnly,
            (false, true) if by_value => Self::KeysByValue,
            (false, true) => Self::Keys,
            (false, false) => Self::Full,
        }
    }
}

impl Order {
    /// Numbers that name no order or target are refused before a request gets here; from the log of
    /// another member they mean the natural order.
    fn of(request: &RangeRequest) -> Self {
        let order = SortOrder::try_from(request.sort_order).unwrap_or(SortOrder::None);
        let target = SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key);
        match (order, target) {
            (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => Self::Natural,
            (SortOrder::None | SortOrder::Ascend, target) => {
                Self::Sorted { target, descending: false }
            }
            (SortOrder::Descend, target) => Self::Sorted { target, descending: true },
        }
    }

    fn needs_origin(self) -> bool {
        matches!(self, Self::Sorted { target: SortTarget::Version | SortTarget::Create, .. })
    }

    /// The number that pairs are sorted by; zero where it is none.
    fn rank(self, revision: RevKey, origin: Origin) -> i64 {
        match self {
            Self::Sorted { target: SortTarget::Version, .. } => origin.version,
            Self::Sorted { target: SortTarget::Create, .. } => origin.create_revision,
            Self::Sorted { target: SortTarget::Mod, .. } => revision.main,
            Self::Natural | Self::Sorted { target: SortTarget::Key | SortTarget::Value, .. } => 0,
        }
    }
}

impl Count {
    fn add_one(&mut self) {
        if let Self::Visited(count) = self {
            *count += 1;
        }
    }

    fn total(self) -> i64 {
        let (Self::Visited(count) | Self::Known(count)) = self;
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

impl Filters {
    fn of(request: &RangeRequest) -> Self {
        Self {
            min_mod: request.min_mod_revision,
            max_mod: request.max_mod_revision,
            min_create: request.min_create_revision,
            max_create: request.max_create_revision,
        }
    }

    fn any(&self) -> bool {
        self.min_mod != 0 || self.max_mod != 0 || self.min_create != 0 || self.max_create != 0
    }

    fn need_origin(&self) -> bool {
        self.min_create != 0 || self.max_create != 0
    }

    /// A bound of zero is no bound; the others are inclusive.
    fn pass(&self, mod_revision: i64, create_revision: i64) -> bool {
        (self.min_mod == 0 || mod_revision >= self.min_mod)
            && (self.max_mod == 0 || mod_revision <= self.max_mod)
            && (self.min_create == 0 || create_revision >= self.min_create)
            && (self.max_create == 0 || create_revision <= self.max_create)
    }
}

/// Sorts items that are in key order; ties keep that order, which etcd leaves open.
fn sort(items: &mut [Item], target: SortTarget, descending: bool) {
    let compare = |a: &Item, b: &Item| match target {
        SortTarget::Key => Ordering::Equal,
        SortTarget::Version | SortTarget::Create | SortTarget::Mod => a.rank.cmp(&b.rank),
        SortTarget::Value => a.value().cmp(b.value()),
    };
    match (target, descending) {
        (SortTarget::Key, true) => items.reverse(),
        (SortTarget::Key, false) => {}
        (_, true) => items.sort_by(|a, b| compare(b, a)),
        (_, false) => items.sort_by(compare),
    }
}

impl Item {
    fn value(&self) -> &[u8] {
        let Source::Ready(pair) = &self.source else { return &[] };
        KvView::parse(pair).map_or(&[], |view| view.value)
    }
}

fn index_pair(key: &[u8], revision: RevKey, origin: Origin) -> Pair {
    KvView {
        key,
        create_revision: origin.create_revision,
        mod_revision: revision.main,
        version: origin.version,
        value: &[],
        lease: 0,
    }
    .encode_pair()
}

fn without_value(pair: &Pair) -> Result<Pair, HistoryFault> {
    let view = KvView::parse(pair).map_err(|error| HistoryFault(error.to_string()))?;
    Ok(KvView { value: &[], ..view }.encode_pair())
}

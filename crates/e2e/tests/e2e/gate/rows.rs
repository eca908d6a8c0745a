//! What ours reads out of a file: its rows, and the key-value store restored from them.

use std::ops::ControlFlow;
use std::path::Path;

use bolt::{Bolt, Options, View};
use bytes::Bytes;
use mvcc::{HashReply, History, HistoryFault, Store};
use prost::Message as _;
use proto::etcdserverpb::RangeRequest;
use proto::mvccpb::KeyValue;
use serde_json::{Value, json};
use types::RevKey;

/// A file, open.
pub(super) struct Rows {
    view: View,
}

impl Rows {
    pub(super) fn open(path: &Path) -> Self {
        let options = Options { no_sync: true, ..Options::default() };
        let bolt = Bolt::create_or_open(&osdisk::OsDisk, path, options).expect("open database");
        Self { view: bolt.view() }
    }

    /// The hash of `etcdutl snapshot status`: all names, keys and values in order.
    pub(super) fn status_hash(&self) -> u32 {
        let mut hash = 0;
        for name in self.view.buckets().expect("buckets") {
            hash = crc32c::crc32c_append(hash, &name);
            self.each(&name, |key, value| {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
                ControlFlow::Continue(())
            });
        }
        hash
    }

    /// The store, restored as at a start.
    pub(super) fn store(self) -> Restored {
        let mark = |name: &str| {
            let row = self.view.get(b"meta", name.as_bytes()).expect("read row")?;
            RevKey::parse(&row).map(|(revision, _)| revision.main)
        };
        let (finished, scheduled) = (mark("finishedCompactRev"), mark("scheduledCompactRev"));
        let mut rows = Vec::new();
        self.each(b"key", |key, value| {
            let (revision, tombstone) = RevKey::parse(key).expect("a revision");
            rows.push((revision, tombstone, Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        });
        let restored = Store::restore(rows, finished, scheduled).expect("restore the store");
        Restored { store: restored.store, rows: self }
    }

    fn each(&self, bucket: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) {
        self.view.scan(bucket, b"", &mut visit).expect("scan bucket");
    }
}

impl History for Rows {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        let row = self.view.get(b"key", &revision.to_live());
        row.map_err(|error| HistoryFault(error.to_string()))
    }

    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        let mut each = |key: &[u8], value: &[u8]| {
            let (revision, tombstone) = RevKey::parse(key).expect("a revision");
            visit(revision, tombstone, &Bytes::copy_from_slice(value))
        };
        let scanned = self.view.scan(b"key", &from.to_live(), &mut each);
        scanned.map_err(|error| HistoryFault(error.to_string()))
    }
}

/// A restored store with its rows.
pub(super) struct Restored {
    store: Store,
    rows: Rows,
}

impl Restored {
    pub(super) fn current_revision(&self) -> i64 {
        self.store.current_revision()
    }

    pub(super) fn compacted_revision(&self) -> i64 {
        self.store.compacted_revision()
    }

    pub(super) fn hash_at(&self, revision: i64) -> HashReply {
        let reply = self.store.hash_kv(revision, &self.rows).expect("no fault");
        reply.expect("a hash")
    }

    /// All pairs at a revision as etcdctl prints them; `null` for none.
    pub(super) fn pairs_at(&self, revision: i64) -> Value {
        let zero = Bytes::from_static(&[0]);
        let request = RangeRequest {
            key: zero.clone(),
            range_end: zero,
            revision,
            ..RangeRequest::default()
        };
        let reply = self.store.range(&request, &self.rows).expect("no fault").expect("a range");
        let pairs: Vec<Value> = reply.kvs.iter().map(|pair| pair_as_json(pair)).collect();
        if pairs.is_empty() { Value::Null } else { Value::Array(pairs) }
    }
}

/// Go's JSON of a pair: bytes in base64, nothing for zero.
fn pair_as_json(stored: &[u8]) -> Value {
    let pair = KeyValue::decode(stored).expect("a pair");
    let mut out = json!({
        "key": base64(&pair.key),
        "create_revision": pair.create_revision,
        "mod_revision": pair.mod_revision,
        "version": pair.version,
    });
    if !pair.value.is_empty() {
        out["value"] = base64(&pair.value).into();
    }
    if pair.lease != 0 {
        out["lease"] = pair.lease.into();
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 63;
            let is_padding = digit > chunk.len();
            let shown = DIGITS[usize::try_from(value).expect("six bits")];
            out.push(if is_padding { '=' } else { char::from(shown) });
        }
    }
    out
}

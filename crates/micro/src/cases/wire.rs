//! Encodings on the way of a request.

use std::hint::black_box;

use mvcc::kv::Pair;
use prost::Message as _;
use proto::StoredKeyValue;
use proto::entry::{EntryPayload, decode_payload};
use proto::etcdserverpb::{InternalRaftRequest, PutRequest, RangeResponse, ResponseHeader};
use proto::raftpb::Entry;

use crate::case::Run;
use crate::input;

/// A put from the client's bytes to those of the log entry, and back as apply reads it.
pub(super) fn put_request() -> Run {
    let request = input::put(1, 1);
    let mut id = 0;
    Box::new(move || {
        id += 1;
        let put = PutRequest::decode(request.clone()).expect("the request is whole");
        let request = InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() };
        let payload = decode_payload(&input::entry(id, request)).expect("an entry of ours");
        assert!(matches!(&payload, EntryPayload::V3(request) if request.put.is_some()));
        black_box(payload);
    })
}

/// A log entry to bytes and back.
pub(super) fn log_entry() -> Run {
    let entry = Entry { term: 7, index: 1_000_000, data: input::put(1, 1), ..Entry::default() };
    Box::new(move || {
        let read = Entry::decode(black_box(&entry).encode()).expect("an entry of ours");
        assert_eq!(read.index, entry.index);
        black_box(read);
    })
}

/// A reply of a thousand stored pairs.
pub(super) fn range_reply() -> Run {
    let pair = |number| Pair::from(&input::row(number + 2, number).value.unwrap_or_default()[..]);
    let pairs: Vec<Pair> = (0..1_000).map(pair).collect();
    Box::new(move || {
        let header = Some(ResponseHeader::default());
        let kvs = pairs.iter().cloned().map(StoredKeyValue).collect();
        let reply = RangeResponse { header, kvs, more: false, count: 1_000 };
        assert!(reply.encode_to_vec().len() > 300_000);
    })
}

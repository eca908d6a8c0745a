//! Items 74-76: a range in chunks.

use e2e::v3::{Failure, PATIENCE as STREAM_PATIENCE, Received};
use prost::Message;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{COMPACTED, between};

super::items! {
    both {}
    ours {
        shared: item_074_chunks_make_up_the_range,
            item_075_sorted_ranges_are_not_streamed,
            item_076_later_writes_are_not_in_it;
    }
}

/// Keys of a range that takes more than one chunk.
const KEYS: usize = 300;

/// Opens a stream of chunks.
fn open(case: &Case, request: &RangeRequest) -> e2e::v3::Stream {
    let mut stream = case.client.stream("/etcdserverpb.KV/RangeStream", &[]);
    stream.send(request);
    stream.half_close();
    stream
}

/// All chunks of a stream.
#[track_caller]
fn collect(stream: &mut e2e::v3::Stream) -> Result<Vec<RangeResponse>, Failure> {
    let mut chunks = Vec::new();
    loop {
        match stream.receive(STREAM_PATIENCE) {
            Received::Message(bytes) => {
                let chunk = RangeStreamResponse::decode(bytes).expect("a chunk");
                chunks.push(chunk.range_response.expect("a part of the range"));
            }
            Received::End(end) => return end.map(|()| chunks),
            Received::Silence => panic!("the stream stopped"),
        }
    }
}

/// One answer out of all chunks; header, `more` and `count` belong to the last alone.
#[track_caller]
fn joined(chunks: Vec<RangeResponse>) -> RangeResponse {
    let count = chunks.len();
    let mut whole = RangeResponse::default();
    for (number, chunk) in chunks.into_iter().enumerate() {
        let is_last = number + 1 == count;
        assert_eq!(chunk.header.is_some(), is_last, "header of chunk {number} of {count}");
        assert!(is_last || (!chunk.more && chunk.count == 0), "chunk {number} of {count}");
        whole.kvs.extend(chunk.kvs);
        (whole.header, whole.more, whole.count) = (chunk.header, chunk.more, chunk.count);
    }
    whole
}

fn written(case: &Case) -> RangeRequest {
    for number in 0..KEYS {
        case.write(&format!("{number:04}"), &number.to_string());
    }
    between(case.key(""), case.prefix_end())
}

fn item_074_chunks_make_up_the_range(case: &mut Case) {
    let all = written(case);
    let requests = [
        all.clone(),
        RangeRequest { limit: 100, ..all.clone() },
        RangeRequest { revision: case.at(150), ..all.clone() },
        RangeRequest { keys_only: true, ..all.clone() },
        RangeRequest { count_only: true, ..all.clone() },
        RangeRequest { serializable: true, limit: -1, ..all.clone() },
        RangeRequest { sort_order: SortOrder::Ascend.into(), ..all.clone() },
        between(case.key("x"), case.key("y")),
    ];
    for request in requests {
        let chunks = collect(&mut open(case, &request)).expect("a stream");
        let is_long = chunks.iter().map(|chunk| chunk.kvs.len()).sum::<usize>() > 10;
        assert!(!is_long || chunks.len() > 1, "{} chunks for {request:?}", chunks.len());
        assert!(chunks[0].kvs.len() <= 10, "{} keys in the first chunk", chunks[0].kvs.len());
        assert_eq!(joined(chunks), case.range(&request).expect("range"), "{request:?}");
    }
    let _ = case.compact(10, false).expect("compact");
    let past = RangeRequest { revision: case.at(9), ..all };
    refused(collect(&mut open(case, &past)), Code::OutOfRange, COMPACTED);
}

fn item_075_sorted_ranges_are_not_streamed(case: &mut Case) {
    let all = between(case.key("a"), case.key("z"));
    let sorts = "RangeStream does not support custom sort orders";
    for (order, target) in
        [(SortOrder::Descend, SortTarget::Key), (SortOrder::Ascend, SortTarget::Mod)]
    {
        let (sort_order, sort_target) = (order.into(), target.into());
        let request = RangeRequest { sort_order, sort_target, ..all.clone() };
        refused(collect(&mut open(case, &request)), Code::Unimplemented, sorts);
    }
    let filters = "RangeStream does not support revision filters";
    let request = RangeRequest { min_mod_revision: 1, ..all };
    refused(collect(&mut open(case, &request)), Code::Unimplemented, filters);
}

fn item_076_later_writes_are_not_in_it(case: &mut Case) {
    let all = written(case);
    let expected = case.range(&all).expect("range");
    // The reader takes a few messages only, so the stream is not at its end when the writes happen.
    let mut stream = open(case, &all);
    let first: RangeStreamResponse = stream.next();
    for number in 0..KEYS {
        case.write(&format!("{number:04}"), "later");
    }
    case.write("9999", "later");
    let mut chunks = vec![first.range_response.expect("a part of the range")];
    chunks.extend(collect(&mut stream).expect("a stream"));
    assert_eq!(joined(chunks), expected);
}

//! Items 68-73: compaction, and the size of requests.

use std::ops::ControlFlow;

use bytes::Bytes;
use e2e::eventually;
use osdisk::OsDisk;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::Code;
use types::Bucket;

use super::case::{Case, PATIENCE, refused};
use super::requests::{COMPACTED, FUTURE, between, get, put};

super::items! {
    both {
        shared: item_068_compaction_goes_forward_and_not_beyond_the_present,
            item_070_the_newest_up_to_the_compact_revision_is_kept,
            item_073_requests_have_a_size;
        alone: item_069_compaction_at_0_works_once,
            item_071_a_physical_compaction_has_deleted_when_it_answers,
            item_072_a_compaction_survives_a_restart_in_its_middle;
    }
    ours {}
}

/// Revisions of one key that a compaction has to delete: several batches of 1,000.
const REVISIONS: i64 = 3000;

fn item_068_compaction_goes_forward_and_not_beyond_the_present(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2")]);
    refused(case.compact(3, false), Code::OutOfRange, FUTURE);
    let answer = case.compact(1, false).expect("compact");
    assert_eq!(case.steps(&answer.header), 2);
    refused(case.compact(1, false), Code::OutOfRange, COMPACTED);
    refused(case.compact(1, true), Code::OutOfRange, COMPACTED);
    assert!(case.compact(2, true).is_ok());
}

fn item_069_compaction_at_0_works_once(case: &mut Case) {
    case.write("a", "1");
    let zero = -case.at(0);
    refused(case.compact(zero - 1, false), Code::OutOfRange, COMPACTED);
    assert!(case.compact(zero, false).is_ok());
    refused(case.compact(zero, false), Code::OutOfRange, COMPACTED);
    assert_eq!(case.all(), ["a=1 @1 @1 v1"]);
}

fn item_070_the_newest_up_to_the_compact_revision_is_kept(case: &mut Case) {
    case.write_all(&[("a", "1"), ("b", "2"), ("a", "3"), ("gone", "4")]);
    case.remove("gone");
    case.write("a", "6");
    let _ = case.compact(5, true).expect("compact");
    let at = |steps| {
        let all = between(case.key("a"), case.key("z"));
        case.range(&RangeRequest { revision: case.at(steps), ..all })
    };
    let kept = at(5).expect("range");
    assert_eq!(case.show_all(&kept.kvs), ["a=3 @1 @3 v2", "b=2 @2 @2 v1"]);
    let newest = at(6).expect("range");
    assert_eq!(case.show_all(&newest.kvs), ["a=6 @1 @6 v3", "b=2 @2 @2 v1"]);
    refused(at(4), Code::OutOfRange, COMPACTED);
}

fn item_071_a_physical_compaction_has_deleted_when_it_answers(case: &mut Case) {
    overwrite(case, REVISIONS);
    let _ = case.compact(REVISIONS, true).expect("compact");
    case.etcd().kill9();
    let database = case.etcd().spec().data_dir().join("member/snap/db");
    let bolt = bolt::Bolt::create_or_open(&OsDisk, &database, bolt::Options::default());
    let mut rows = 0;
    let mut count = |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    let bucket = Bucket::Key.name();
    bolt.expect("open the database").view().scan(bucket, b"", &mut count).expect("read rows");
    assert_eq!(rows, 1, "revisions left");
}

fn item_072_a_compaction_survives_a_restart_in_its_middle(case: &mut Case) {
    overwrite(case, REVISIONS);
    let _ = case.compact(REVISIONS - 1, false).expect("compact");
    case.etcd().kill9();
    case.etcd().restart();
    let read = |steps| {
        let request = RangeRequest { revision: case.at(steps), ..get(case.key("a")) };
        case.range(&request)
    };
    eventually("the connection to work again", PATIENCE, || read(REVISIONS).ok());
    refused(read(REVISIONS - 2), Code::OutOfRange, COMPACTED);
    let (kept, newest) = (REVISIONS - 1, REVISIONS);
    for steps in [kept, newest] {
        let found = read(steps).expect("range");
        let value = format!("a=x @1 @{steps} v{steps}");
        assert_eq!(case.show_all(&found.kvs), [value]);
    }
    refused(case.compact(kept, false), Code::OutOfRange, COMPACTED);
    case.write("a", "after");
    assert_eq!(case.all(), [format!("a=after @1 @{} v{}", newest + 1, newest + 1)]);
}

fn item_073_requests_have_a_size(case: &mut Case) {
    let of =
        |size: usize| PutRequest { value: Bytes::from(vec![b'x'; size]), ..put(case.key("a"), "") };
    assert!(case.put(&of(1_500_000)).is_ok());
    let large = "etcdserver: request is too large";
    refused(case.put(&of(1_572_864)), Code::InvalidArgument, large);
    let huge = of(2_100_000);
    let size = prost::Message::encoded_len(&huge);
    let message = format!("grpc: received message larger than max ({size} vs. 2097152)");
    refused(case.put(&huge), Code::ResourceExhausted, &message);
}

/// Writes `count` revisions of one key, many at a time.
#[track_caller]
fn overwrite(case: &Case, count: i64) {
    const WRITERS: i64 = 8;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..count / WRITERS {
                    case.write("a", "x");
                }
            });
        }
    });
}

//! Items 77-85: how a watch begins.

use bytes::Bytes;
use proto::etcdserverpb::WatchCreateRequest;

use super::case::{Case, Watch};
use super::requests::COMPACTED;

super::items! {
    both {
        shared: item_077_ids_are_counted_from_0,
            item_078_an_id_of_choice_is_honoured_once,
            item_079_counting_skips_ids_in_use,
            item_080_an_empty_range_is_refused,
            item_081_the_past_is_replayed_from_the_start_on,
            item_082_a_watch_from_the_future_waits,
            item_083_a_watch_from_before_the_compaction_is_cancelled,
            item_084_a_watch_from_the_compact_revision_works;
    }
    // 3.5.1 treats it as a compacted start.
    ours {
        shared: item_085_a_negative_start_is_refused;
    }
}

fn one(case: &Case) -> WatchCreateRequest {
    WatchCreateRequest { key: case.key("a"), ..WatchCreateRequest::default() }
}

/// A watch that is refused: created and cancelled in one answer, without an ID.
#[track_caller]
fn is_refused(watch: &mut Watch<'_>, request: &WatchCreateRequest, reason: &str) {
    watch.create(request);
    let answer = watch.next();
    assert!(answer.created && answer.canceled, "{answer:?}");
    assert_eq!((answer.watch_id, answer.cancel_reason.as_str()), (-1, reason));
    assert_eq!(answer.compact_revision, 0);
}

fn item_077_ids_are_counted_from_0(case: &mut Case) {
    case.write("a", "1");
    let mut watch = case.watch_stream();
    for expected in 0..3 {
        watch.create(&one(case));
        let answer = watch.next();
        assert!(answer.created && !answer.canceled && answer.events.is_empty(), "{answer:?}");
        assert_eq!((answer.watch_id, case.steps(&answer.header)), (expected, 1));
    }
    // A cancelled ID is not given again.
    watch.cancel(1);
    let answer = watch.next();
    assert!(answer.canceled && answer.watch_id == 1, "{answer:?}");
    assert_eq!(watch.creates(&one(case)), 3);
}

fn item_078_an_id_of_choice_is_honoured_once(case: &mut Case) {
    let mut watch = case.watch_stream();
    let seven = WatchCreateRequest { watch_id: 7, ..one(case) };
    assert_eq!(watch.creates(&seven), 7);
    is_refused(&mut watch, &seven, "mvcc: duplicate watch ID provided on the WatchStream");
    case.write("a", "1");
    let event = watch.next();
    assert_eq!((event.watch_id, case.show_events(&event)), (7, vec!["PUT a=1 @1 @1 v1".into()]));
    let negative = WatchCreateRequest { watch_id: -9, ..one(case) };
    assert_eq!(watch.creates(&negative), -9);
}

fn item_079_counting_skips_ids_in_use(case: &mut Case) {
    let mut watch = case.watch_stream();
    assert_eq!(watch.creates(&WatchCreateRequest { watch_id: 1, ..one(case) }), 1);
    let ids: Vec<i64> = (0..3).map(|_| watch.creates(&one(case))).collect();
    assert_eq!(ids, [0, 2, 3]);
}

fn item_080_an_empty_range_is_refused(case: &mut Case) {
    let mut watch = case.watch_stream();
    for end in ["a", "Z"] {
        let request = WatchCreateRequest { range_end: case.key(end), ..one(case) };
        is_refused(&mut watch, &request, "mvcc: watcher range is empty");
    }
    assert_eq!(watch.creates(&one(case)), 0);
}

fn item_081_the_past_is_replayed_from_the_start_on(case: &mut Case) {
    case.write_all(&[("a", "1"), ("b", "2"), ("a", "3")]);
    case.remove("a");
    let mut watch = case.watch_all(case.at(2));
    let expected = ["PUT b=2 @2 @2 v1", "PUT a=3 @1 @3 v2", "DELETE a= 0 @4 v0"];
    assert_eq!(watch.events(3), expected);
    case.write("a", "5");
    assert_eq!(watch.events(1), ["PUT a=5 @5 @5 v1"]);
    // An empty key with the end 0 watches everything.
    let mut watch = case.watch_stream();
    let everything = WatchCreateRequest {
        range_end: Bytes::from_static(b"\0"),
        start_revision: case.at(1),
        ..WatchCreateRequest::default()
    };
    let _ = watch.creates(&everything);
    assert_eq!(watch.events(5)[0], "PUT a=1 @1 @1 v1");
}

fn item_082_a_watch_from_the_future_waits(case: &mut Case) {
    let mut watch = case.watch_all(case.at(3));
    case.write_all(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
    assert_eq!(watch.events(2), ["PUT a=3 @1 @3 v3", "PUT a=4 @1 @4 v4"]);
}

fn item_083_a_watch_from_before_the_compaction_is_cancelled(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let _ = case.compact(3, false).expect("compact");
    let mut watch = case.watch_stream();
    let id = watch.creates(&WatchCreateRequest { start_revision: case.at(1), ..one(case) });
    let answer = watch.next();
    assert!(answer.canceled && !answer.created && answer.events.is_empty(), "{answer:?}");
    assert_eq!((answer.watch_id, answer.compact_revision), (id, case.at(3)));
    assert_eq!(answer.cancel_reason, "");
    // Its ID stays in use.
    let again = WatchCreateRequest { watch_id: 5, start_revision: case.at(2), ..one(case) };
    assert_eq!(watch.creates(&again), 5);
    assert!(watch.next().canceled);
    is_refused(&mut watch, &again, "mvcc: duplicate watch ID provided on the WatchStream");
}

fn item_084_a_watch_from_the_compact_revision_works(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let _ = case.compact(2, true).expect("compact");
    let mut watch = case.watch_all(case.at(2));
    assert_eq!(watch.events(2), ["PUT a=2 @1 @2 v2", "PUT a=3 @1 @3 v3"]);
}

fn item_085_a_negative_start_is_refused(case: &mut Case) {
    let mut watch = case.watch_stream();
    is_refused(&mut watch, &WatchCreateRequest { start_revision: -1, ..one(case) }, COMPACTED);
    assert_eq!(watch.creates(&one(case)), 0);
}

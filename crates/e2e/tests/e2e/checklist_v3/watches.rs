//! Items 86-91 and 95: what a watch delivers, and its end.

use bytes::Bytes;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchResponse};

use super::case::Case;
use super::requests::{Part, all_of, delete, put};

super::items! {
    both {
        shared: item_086_the_events_of_a_txn_come_together,
            item_087_filters_drop_kinds_of_events,
            item_088_deletions_have_key_and_revision_only,
            item_089_former_pairs_come_with_overwrites_and_deletions,
            item_090_large_responses_are_split_on_request,
            item_091_cancellation_is_answered_for_known_ids,
            item_095_a_half_closed_stream_goes_on;
    }
    ours {}
}

fn all(case: &Case) -> WatchCreateRequest {
    WatchCreateRequest {
        key: case.key(""),
        range_end: case.prefix_end(),
        ..WatchCreateRequest::default()
    }
}

fn item_086_the_events_of_a_txn_come_together(case: &mut Case) {
    case.write("c", "0");
    let mut live = case.watch_all(0);
    let ops = vec![
        put(case.key("b"), "1").op(),
        delete(case.key("c")).op(),
        put(case.key("a"), "2").op(),
    ];
    let _ = case.txn(&all_of(ops)).expect("txn");
    let mut past = case.watch_all(case.at(2));
    for watch in [&mut live, &mut past] {
        let together = watch.next();
        let expected = ["PUT b=1 @2 @2 v1", "DELETE c= 0 @2 v0", "PUT a=2 @2 @2 v1"];
        assert_eq!(case.show_events(&together), expected);
        assert_eq!(case.steps(&together.header), 2);
    }
}

fn item_087_filters_drop_kinds_of_events(case: &mut Case) {
    let mut watch = case.watch_stream();
    let kinds = [
        vec![FilterType::Noput.into()],
        vec![FilterType::Nodelete.into()],
        vec![FilterType::Noput.into(), FilterType::Nodelete.into()],
        Vec::new(),
    ];
    for filters in kinds {
        let _ = watch.creates(&WatchCreateRequest { filters, ..all(case) });
    }
    case.write("a", "1");
    case.remove("a");
    case.write("a", "2");
    let mut seen: [Vec<String>; 4] = Default::default();
    while seen.iter().map(Vec::len).sum::<usize>() < 6 {
        let response = watch.next();
        assert!(!response.events.is_empty(), "a response of nothing: {response:?}");
        let id = usize::try_from(response.watch_id).expect("an ID");
        seen[id].extend(case.show_events(&response));
    }
    let (first, second, gone) = ("PUT a=1 @1 @1 v1", "PUT a=2 @3 @3 v1", "DELETE a= 0 @2 v0");
    assert_eq!(seen[0], [gone]);
    assert_eq!(seen[1], [first, second]);
    assert!(seen[2].is_empty());
    assert_eq!(seen[3], [first, gone, second]);
    watch.is_silent();
}

fn item_088_deletions_have_key_and_revision_only(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    let _ = case.put(&PutRequest { lease, ..put(case.key("a"), "1") }).expect("put");
    let mut live = case.watch_all(0);
    case.remove("a");
    let mut past = case.watch_all(case.at(2));
    for watch in [&mut live, &mut past] {
        assert_eq!(watch.events(1), ["DELETE a= 0 @2 v0"]);
    }
}

fn item_089_former_pairs_come_with_overwrites_and_deletions(case: &mut Case) {
    let with_former = WatchCreateRequest { prev_kv: true, ..all(case) };
    let mut live = case.watch_stream();
    let _ = live.creates(&with_former);
    case.write_all(&[("a", "1"), ("a", "2")]);
    case.remove("a");
    case.write("a", "4");
    let mut past = case.watch_stream();
    let _ = past.creates(&WatchCreateRequest { start_revision: case.at(1), ..with_former });
    for watch in [&mut live, &mut past] {
        let expected = [
            "PUT a=1 @1 @1 v1",
            "PUT a=2 @1 @2 v2 prev a=1 @1 @1 v1",
            "DELETE a= 0 @3 v0 prev a=2 @1 @2 v2",
            "PUT a=4 @4 @4 v1",
        ];
        assert_eq!(watch.events(4), expected);
    }
}

/// Responses above the size limit of requests and 512 KiB are split between events.
fn item_090_large_responses_are_split_on_request(case: &mut Case) {
    const HALF: usize = 700_000;
    let large = |byte: u8, name: &str| {
        let value = Bytes::from(vec![byte; HALF]);
        PutRequest { value, ..put(case.key(name), "") }.op()
    };
    let write = |byte: u8| {
        let _ = case.txn(&all_of(vec![large(byte, "a"), large(byte, "b")])).expect("txn");
    };
    write(b'1');
    write(b'2');
    // The last revision alone has 4 x 700 kB of pairs and former pairs.
    let request = WatchCreateRequest { prev_kv: true, start_revision: case.at(2), ..all(case) };
    let mut whole = case.watch_stream();
    let _ = whole.creates(&request);
    let response = whole.next();
    assert!(response.events.len() == 2 && !response.fragment);
    let mut split = case.watch_stream();
    let _ = split.creates(&WatchCreateRequest { fragment: true, ..request });
    let parts: [WatchResponse; 2] = [split.next(), split.next()];
    assert_eq!([parts[0].fragment, parts[1].fragment], [true, false]);
    assert_eq!(parts[0].header, parts[1].header);
    let events = parts.iter().flat_map(|part| part.events.clone()).collect::<Vec<_>>();
    assert!(events == response.events, "the parts are not the whole");
    split.is_silent();
}

fn item_091_cancellation_is_answered_for_known_ids(case: &mut Case) {
    let mut watch = case.watch_stream();
    let id = watch.creates(&all(case));
    watch.cancel(4242);
    watch.cancel(id);
    let answer = watch.next();
    assert!(answer.canceled && !answer.created && answer.events.is_empty(), "{answer:?}");
    assert_eq!((answer.watch_id, answer.cancel_reason.as_str()), (id, ""));
    // Nothing comes under the ID any more.
    case.write("a", "1");
    let other = watch.creates(&all(case));
    assert_ne!(other, id);
    case.write("a", "2");
    assert_eq!(watch.next().watch_id, other);
    watch.cancel(id);
    assert_eq!(watch.creates(&all(case)), other + 1);
}

fn item_095_a_half_closed_stream_goes_on(case: &mut Case) {
    let mut watch = case.watch_all(0);
    watch.stream.half_close();
    case.write("a", "1");
    assert_eq!(watch.events(1), ["PUT a=1 @1 @1 v1"]);
    case.write("a", "2");
    assert_eq!(watch.events(1), ["PUT a=2 @1 @2 v2"]);
}

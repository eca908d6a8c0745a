//! Items 92-94: progress, asked for and by the clock.

use std::time::Instant;

use proto::etcdserverpb::WatchCreateRequest;

use super::case::{Case, PROGRESS_INTERVAL};

super::items! {
    both {
        shared: item_092_progress_is_told_when_all_watches_are_synced;
        frequent_progress: item_094_progress_is_told_by_the_clock_when_idle;
    }
    // 3.5.1 answers always.
    ours {
        shared: item_093_progress_is_not_told_before_a_future_watch_began;
    }
}

fn item_092_progress_is_told_when_all_watches_are_synced(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2")]);
    let mut watch = case.watch_all(case.at(1));
    assert_eq!(watch.events(2).len(), 2);
    watch.ask_progress();
    let answer = watch.next();
    assert!(answer.events.is_empty() && !answer.created && !answer.canceled, "{answer:?}");
    assert_eq!((answer.watch_id, case.steps(&answer.header)), (-1, 2));
    case.write("a", "3");
    let event = watch.next();
    assert_eq!((event.watch_id, case.steps(&event.header)), (0, 3));
}

fn item_093_progress_is_not_told_before_a_future_watch_began(case: &mut Case) {
    let mut watch = case.watch_all(case.at(2));
    watch.ask_progress();
    case.write_all(&[("a", "1"), ("a", "2")]);
    // The event comes first: the question was dropped.
    let event = watch.next();
    assert_eq!(case.show_events(&event), ["PUT a=2 @1 @2 v2"]);
    watch.ask_progress();
    let answer = watch.next();
    assert_eq!((answer.watch_id, case.steps(&answer.header)), (-1, 2));
}

fn item_094_progress_is_told_by_the_clock_when_idle(case: &mut Case) {
    let mut watch = case.watch_stream();
    let request = WatchCreateRequest { key: case.key("a"), ..WatchCreateRequest::default() };
    let _ = watch.creates(&WatchCreateRequest { progress_notify: true, ..request.clone() });
    let _ = watch.creates(&request);
    let began = Instant::now();
    for told in 1..=3_u32 {
        let answer = watch.next();
        assert!(answer.events.is_empty() && !answer.created && !answer.canceled, "{answer:?}");
        assert_eq!((answer.watch_id, case.steps(&answer.header)), (0, 0));
        assert!(told == 1 || began.elapsed() >= PROGRESS_INTERVAL * (told - 1));
    }
    // What is told names everything that was delivered.
    case.write("a", "1");
    let mut events = 0;
    loop {
        let answer = watch.next();
        events += answer.events.len();
        if answer.events.is_empty() && case.steps(&answer.header) == 1 {
            break;
        }
    }
    assert_eq!(events, 2);
}

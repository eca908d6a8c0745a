//! Items 70-72 and 76: the window of past events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use e2e::http;

use super::case::{Case, done, error_body, file, redone};

super::items! {
    shared: item_070_wait_index_is_in_the_past_or_the_future;
    alone: item_071_what_left_the_window_is_cleared,
        item_072_the_window_has_1000_events,
        item_076_history_survives_a_restart;
}

/// Events that are remembered.
const WINDOW: u64 = 1000;
/// Connections that fill the window.
const WRITERS: usize = 8;

fn item_070_wait_index_is_in_the_past_or_the_future(case: &mut Case) {
    let _ = case.put("/~", "value=1");
    let _ = case.put("/~", "value=2");
    let mut past = case.watch("/~", &case.fill("&waitIndex=@1"));
    past.sees(&done("set", &file("/~", "1", 1, 1)));
    past.ends();
    let mut future = case.watch("/~", &case.fill("&waitIndex=@4"));
    let _ = case.put("/~", "value=3");
    let _ = case.put("/~", "value=4");
    future.sees(&redone("set", &file("/~", "4", 4, 4), &file("/~", "3", 3, 3)));
    future.ends();
    let mut between = case.watch("/~other", &case.fill("&waitIndex=@1"));
    let _ = case.put("/~other", "value=5");
    between.sees(&done("set", &file("/~other", "5", 5, 5)));
}

fn item_071_what_left_the_window_is_cleared(case: &mut Case) {
    let newest = fill_window(case);
    let reply = case.get("/~?wait=true&waitIndex=1").response;
    let oldest = newest - WINDOW + 1;
    let cause = format!("the requested history has been cleared [{oldest}/1]");
    assert_eq!((reply.status, reply.body.clone()), error_body(401, &cause, newest));
    assert_eq!(reply.header("X-Etcd-Index"), Some(newest.to_string().as_str()));
}

fn item_072_the_window_has_1000_events(case: &mut Case) {
    let newest = fill_window(case);
    let oldest = newest - WINDOW + 1;
    let mut watch = case.watch("/", &format!("&recursive=true&waitIndex={oldest}"));
    let event = watch.event();
    assert!(event.contains(&format!(r#""modifiedIndex":{oldest},"#)), "{event}");
    let asked = oldest - 1;
    let reply = case.get(&format!("/?wait=true&recursive=true&waitIndex={asked}")).response;
    let cause = format!("the requested history has been cleared [{oldest}/{asked}]");
    assert_eq!((reply.status, reply.body), error_body(401, &cause, newest));
}

fn item_076_history_survives_a_restart(case: &mut Case) {
    let _ = case.put("/~", "value=1");
    let _ = case.put("/~", "value=2");
    case.restart(|| ());
    let mut watch = case.watch("/~", &case.fill("&waitIndex=@1"));
    watch.sees(&done("set", &file("/~", "1", 1, 1)));
    let mut next = case.watch("/~", &case.fill("&waitIndex=@2"));
    next.sees(&redone("set", &file("/~", "2", 2, 2), &file("/~", "1", 1, 1)));
}

/// Writes until the first event has left; the index of the newest.
#[track_caller]
fn fill_window(case: &Case) -> u64 {
    let (address, taken) = (case.address(), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while taken.fetch_add(1, Ordering::Relaxed) < WINDOW {
                    let put = http::form(address, "PUT", "/v2/keys/window", "value=x");
                    assert!(put.is_ok_and(|reply| matches!(reply.status, 200 | 201)));
                }
            });
        }
    });
    case.index()
}

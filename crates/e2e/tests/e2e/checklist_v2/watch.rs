//! Items 63-69 and 73-75: live watches.

use super::case::{Case, dir, done, file, no_file, redone};

super::items! {
    shared: item_063_headers_come_before_the_event,
        item_064_a_watch_ends_after_one_event,
        item_065_recursive_stops_at_the_element,
        item_066_a_child_is_told_of_the_end_of_its_parent,
        item_067_a_missing_child_is_not_told_of_the_end_of_its_parent,
        item_068_hidden_elements_below_the_path_are_not_shown,
        item_069_history_shows_hidden_elements,
        item_073_a_stream_from_history_sends_one_event,
        item_074_a_stream_on_a_deleted_key_gets_the_event_twice,
        item_075_quorum_does_not_wait;
}

fn item_063_headers_come_before_the_event(case: &mut Case) {
    let mut watch = case.watch("/~", "");
    let head = watch.head();
    assert_eq!(head.status, 200);
    let index = case.at(0).to_string();
    assert_eq!(head.header("X-Etcd-Index"), Some(index.as_str()));
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(head.header("Content-Type"), Some("application/json"));
    assert_eq!(head.header("Content-Length"), None);
    for name in ["X-Raft-Index", "X-Raft-Term", "X-Etcd-Cluster-Id"] {
        assert!(head.header(name).is_some(), "no {name}");
    }
    watch.is_silent();
    let _ = case.put("/~", "value=x");
    watch.sees(&done("set", &file("/~", "x", 1, 1)));
}

fn item_064_a_watch_ends_after_one_event(case: &mut Case) {
    let mut watch = case.watch("/~", "");
    let _ = case.put("/~", "value=x");
    let _ = case.put("/~", "value=y");
    watch.sees(&done("set", &file("/~", "x", 1, 1)));
    watch.ends();
}

fn item_065_recursive_stops_at_the_element(case: &mut Case) {
    let mut watch = case.watch("/~", "&recursive=true");
    let mut plain = case.watch("/~", "");
    let _ = case.put("/~2", "value=x");
    let _ = case.put("/~/below", "value=y");
    watch.sees(&done("set", &file("/~/below", "y", 2, 2)));
    plain.is_silent();
}

fn item_066_a_child_is_told_of_the_end_of_its_parent(case: &mut Case) {
    let _ = case.put("/~/a/b", "value=x");
    let mut watches = ["/~/a/b", "/~/a", "/~"].map(|key| case.watch(key, ""));
    let mut recursive = case.watch("/~/a", "&recursive=true");
    let _ = case.delete("/~?recursive=true");
    let event = redone("delete", &dir("/~", 2, 1), &dir("/~", 1, 1));
    watches.iter_mut().for_each(|watch| watch.sees(&event));
    recursive.sees(&event);
}

fn item_067_a_missing_child_is_not_told_of_the_end_of_its_parent(case: &mut Case) {
    let _ = case.put("/~/a", "value=x");
    let mut watch = case.watch("/~/missing", "&stream=true");
    let _ = case.delete("/~?recursive=true").has_status(200);
    let _ = case.put("/~/missing", "value=y");
    watch.sees(&done("set", &file("/~/missing", "y", 3, 3)));
}

fn item_068_hidden_elements_below_the_path_are_not_shown(case: &mut Case) {
    let mut watch = case.watch("/~", "&recursive=true&stream=true");
    let mut inside = case.watch("/~/_h", "&recursive=true");
    let mut itself = case.watch("/~/_f", "");
    let _ = case.put("/~/_h/a", "value=1");
    let _ = case.put("/~/b/_f", "value=2");
    let _ = case.put("/~/_f", "value=3");
    let _ = case.put("/~/c", "value=4");
    watch.sees(&done("set", &file("/~/c", "4", 4, 4)));
    inside.sees(&done("set", &file("/~/_h/a", "1", 1, 1)));
    itself.sees(&done("set", &file("/~/_f", "3", 3, 3)));
}

fn item_069_history_shows_hidden_elements(case: &mut Case) {
    let _ = case.put("/~/_h", "value=x");
    let mut watch = case.watch("/~", &case.fill("&recursive=true&waitIndex=@1"));
    watch.sees(&done("set", &file("/~/_h", "x", 1, 1)));
    watch.ends();
}

fn item_073_a_stream_from_history_sends_one_event(case: &mut Case) {
    let _ = case.put("/~", "value=1");
    let _ = case.put("/~", "value=2");
    let mut past = case.watch("/~", &case.fill("&stream=true&waitIndex=@1"));
    past.sees(&done("set", &file("/~", "1", 1, 1)));
    let mut live = case.watch("/~", "&stream=true");
    let _ = case.put("/~", "value=3");
    live.sees(&redone("set", &file("/~", "3", 3, 3), &file("/~", "2", 2, 2)));
    past.is_silent();
}

fn item_074_a_stream_on_a_deleted_key_gets_the_event_twice(case: &mut Case) {
    let _ = case.put("/~/a", "value=x");
    let mut streams = [("/~/a", ""), ("/~/a", "&recursive=true"), ("/~", "&recursive=true")]
        .map(|(key, query)| case.watch(key, &format!("{query}&stream=true")));
    let _ = case.delete("/~/a");
    let _ = case.put("/~/a", "value=y");
    let event = redone("delete", &no_file("/~/a", 2, 1), &file("/~/a", "x", 1, 1));
    for (stream, times) in streams.iter_mut().zip([2, 2, 1]) {
        for _ in 0..times {
            stream.sees(&event);
        }
        stream.sees(&done("set", &file("/~/a", "y", 3, 3)));
    }
}

fn item_075_quorum_does_not_wait(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    let get = case.get("/~?quorum=true&wait=true&recursive=true");
    get.is(200, &done("get", &file("/~", "x", 1, 1)));
}

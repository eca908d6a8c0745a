//! Items 51-54: in-order keys, hidden nodes, sorting.

use super::case::{Case, dir, dir_of, done, file};

super::items! {
    shared: item_051_in_order_keys_are_the_index_in_20_digits,
        item_052_in_order_keys_need_a_directory,
        item_053_hidden_nodes_are_not_listed,
        item_054_sorted_sorts_every_level;
}

fn item_051_in_order_keys_are_the_index_in_20_digits(case: &mut Case) {
    case.post("/~", "value=j1").is(201, &done("create", &file("/~/#1", "j1", 1, 1)));
    let _ = case.put("/~other", "value=x");
    case.post("/~", "value=j2").is(201, &done("create", &file("/~/#3", "j2", 3, 3)));
    case.post("/~", "").is(201, &done("create", &file("/~/#4", "", 4, 4)));
    let children = [file("/~/#1", "j1", 1, 1), file("/~/#3", "j2", 3, 3), file("/~/#4", "", 4, 4)];
    case.get("/~?sorted=true").is(200, &done("get", &dir_of("/~", &children, 1, 1)));
}

fn item_052_in_order_keys_need_a_directory(case: &mut Case) {
    let _ = case.put("/~/f", "value=x");
    case.post("/~/f", "value=y").fails(104, "/~/f", 1);
    case.post("/~/f/below", "value=y").fails(104, "/~/f", 1);
    case.post("/~", "dir=true").is(201, &done("create", &dir("/~/#2", 2, 2)));
}

fn item_053_hidden_nodes_are_not_listed(case: &mut Case) {
    let _ = case.put("/~/_h/a", "value=x");
    let _ = case.put("/~/b/_h", "value=y");
    let listed = dir_of("/~", &[dir("/~/b", 2, 2)], 1, 1);
    case.get("/~?recursive=true").is(200, &done("get", &listed));
    case.get("/~").is(200, &done("get", &listed));
    case.get("/~/b/_h").is(200, &done("get", &file("/~/b/_h", "y", 2, 2)));
    let inside = dir_of("/~/_h", &[file("/~/_h/a", "x", 1, 1)], 1, 1);
    case.get("/~/_h").is(200, &done("get", &inside));
}

fn item_054_sorted_sorts_every_level(case: &mut Case) {
    for key in ["b/z", "b/c", "a/y", "a/x", "B/w", "10/1"] {
        let _ = case.put(&format!("/~/{key}"), "value=v");
    }
    let leaf =
        |outer: &str, inner: &str, step| file(&format!("/~/{outer}/{inner}"), "v", step, step);
    let tree = dir_of(
        "/~",
        &[
            dir_of("/~/10", &[leaf("10", "1", 6)], 6, 6),
            dir_of("/~/B", &[leaf("B", "w", 5)], 5, 5),
            dir_of("/~/a", &[leaf("a", "x", 4), leaf("a", "y", 3)], 3, 3),
            dir_of("/~/b", &[leaf("b", "c", 2), leaf("b", "z", 1)], 1, 1),
        ],
        1,
        1,
    );
    case.get("/~?recursive=true&sorted=true").is(200, &done("get", &tree));
}

//! Items 39-50: directories, implicit parents, the root.

use super::case::{Case, dir, dir_of, done, file, redone};

super::items! {
    shared: item_039_a_directory_replaces_a_file,
        item_040_a_directory_does_not_replace_a_directory,
        item_041_a_value_does_not_replace_a_directory,
        item_042_create_over_a_directory_fails,
        item_043_nothing_goes_below_a_file,
        item_044_a_failed_update_creates_no_parents,
        item_045_directories_are_deleted_on_request_only,
        item_046_hidden_children_count,
        item_047_update_of_a_directory_does_not_touch_its_index,
        item_048_update_without_a_value_empties,
        item_049_implicit_parents_have_the_index_and_no_event;
    alone: item_050_the_root_is_read_only;
}

fn item_039_a_directory_replaces_a_file(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    let former = file("/~", "x", 1, 1);
    case.put("/~", "dir=true").is(200, &redone("set", &dir("/~", 2, 2), &former));
    case.get("/~").is(200, &done("get", &dir("/~", 2, 2)));
}

fn item_040_a_directory_does_not_replace_a_directory(case: &mut Case) {
    let _ = case.put("/~", "dir=true");
    case.put("/~", "dir=true").fails(102, "/~", 1);
    case.put("/~", "dir=true&ttl=1000").fails(102, "/~", 1);
}

fn item_041_a_value_does_not_replace_a_directory(case: &mut Case) {
    let _ = case.put("/~", "dir=true");
    case.put("/~", "value=x").fails(102, "/~", 1);
    case.put("/~", "ttl=1000").fails(102, "/~", 1);
    case.put("/~", "prevExist=true&value=x").fails(102, "/~", 1);
}

fn item_042_create_over_a_directory_fails(case: &mut Case) {
    let _ = case.put("/~", "dir=true");
    case.put("/~", "prevExist=false&value=x").fails(105, "/~", 1);
    case.put("/~", "prevExist=false&dir=true").fails(105, "/~", 1);
}

fn item_043_nothing_goes_below_a_file(case: &mut Case) {
    let _ = case.put("/~/f", "value=x");
    case.put("/~/f/below", "value=y").fails(104, "/~/f", 1);
    case.put("/~/f/a/b", "prevExist=true&value=y").fails(104, "/~/f", 1);
    case.put("/~/f/a", "prevValue=x&value=y").fails(104, "/~/f", 1);
    case.get("/~/f/below").fails(104, "/~/f", 1);
    case.delete("/~/f/below").fails(104, "/~/f", 1);
}

fn item_044_a_failed_update_creates_no_parents(case: &mut Case) {
    case.put("/~/a/b", "prevExist=true&value=x").fails(100, "/~", 0);
    case.get("/~").fails(100, "/~", 0);
    let _ = case.put("/~", "dir=true");
    case.put("/~/a/b", "prevExist=true&value=x").fails(100, "/~/a", 1);
    case.get("/~").is(200, &done("get", &dir("/~", 1, 1)));
}

fn item_045_directories_are_deleted_on_request_only(case: &mut Case) {
    let gone = |steps: u64| {
        let node = dir("/~", steps, 1);
        redone("delete", &node, &dir("/~", 1, 1))
    };
    let _ = case.put("/~/child", "value=x");
    case.delete("/~").fails(102, "/~", 1);
    case.delete("/~?dir=true").fails(108, "/~", 1);
    let _ = case.delete("/~/child").has_status(200);
    case.delete("/~?dir=true").is(200, &gone(3));
    case.get("/~").fails(100, "/~", 3);
    let _ = case.put("/~/a/b", "value=x");
    let gone = redone("delete", &dir("/~", 5, 4), &dir("/~", 4, 4));
    case.delete("/~?recursive=true").is(200, &gone);
}

fn item_046_hidden_children_count(case: &mut Case) {
    let _ = case.put("/~/_hidden", "value=x");
    case.get("/~").is(200, &done("get", &dir("/~", 1, 1)));
    case.delete("/~?dir=true").fails(108, "/~", 1);
}

fn item_047_update_of_a_directory_does_not_touch_its_index(case: &mut Case) {
    let _ = case.put("/~", "dir=true");
    let update = case.put("/~", "prevExist=true&dir=true&ttl=1000");
    let body = update.has_status(200).json();
    assert_eq!(body["action"], "update");
    assert_eq!(body["node"]["modifiedIndex"], case.at(2), "{body}");
    assert_eq!((&body["node"]["ttl"], &body["node"]["dir"]), (&1000.into(), &true.into()));
    let get = case.get("/~").json();
    assert_eq!(get["node"]["modifiedIndex"], case.at(1), "{get}");
    assert!(get["node"]["expiration"].is_string(), "{get}");
    let update = case.put("/~", "prevExist=true");
    assert_eq!(update.json()["prevNode"]["modifiedIndex"], case.at(1));
    case.get("/~").is(200, &done("get", &dir("/~", 1, 1)));
}

fn item_048_update_without_a_value_empties(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    let former = file("/~", "x", 1, 1);
    let update = case.put("/~", "prevExist=true&dir=true");
    update.is(200, &redone("update", &file("/~", "", 2, 1), &former));
}

fn item_049_implicit_parents_have_the_index_and_no_event(case: &mut Case) {
    let mut watch = case.watch("/~", "&recursive=true&stream=true");
    let _ = case.put("/~/a/b", "value=x");
    let leaf = file("/~/a/b", "x", 1, 1);
    let tree = dir_of("/~", &[dir_of("/~/a", std::slice::from_ref(&leaf), 1, 1)], 1, 1);
    case.get("/~?recursive=true").is(200, &done("get", &tree));
    let _ = case.put("/~/c", "value=y");
    watch.sees(&done("set", &leaf));
    watch.sees(&done("set", &file("/~/c", "y", 2, 2)));
}

fn item_050_the_root_is_read_only(case: &mut Case) {
    for form in ["value=x", "dir=true", "prevExist=true", "prevExist=false", "prevValue=x&value=y"]
    {
        case.put("/", form).fails(107, "/", 0);
        case.put("", form).fails(107, "/", 0);
    }
    for query in ["", "?recursive=true", "?dir=true"] {
        case.delete(&format!("/{query}")).fails(107, "/", 0);
    }
    case.delete("/?prevValue=x").fails(102, "", 0);
    case.delete("/?prevIndex=1").fails(102, "", 0);
    case.post("/", "value=x").is(201, &done("create", &file("/#1", "x", 1, 1)));
}

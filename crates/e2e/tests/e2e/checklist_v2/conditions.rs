//! Items 27-38: update, create, compare-and-swap, compare-and-delete.

use super::case::{Case, dir, done, file, no_file, redone};

super::items! {
    shared: item_027_update_needs_the_key_and_keeps_its_creation,
        item_028_create_needs_the_absence_of_the_key,
        item_029_create_ignores_the_former_value,
        item_030_a_wrong_value_is_named_beside_the_right_one,
        item_031_only_what_is_wrong_is_named,
        item_032_index_0_is_no_condition,
        item_033_swap_needs_a_file,
        item_034_swap_without_ttl_makes_permanent,
        item_035_delete_ignores_prev_exist_and_its_body,
        item_036_compare_and_delete,
        item_037_compare_and_delete_needs_a_file,
        item_038_no_value_on_success;
}

fn item_027_update_needs_the_key_and_keeps_its_creation(case: &mut Case) {
    case.put("/~", "prevExist=true&value=x").fails(100, "/~", 0);
    let _ = case.put("/~", "value=x");
    let former = file("/~", "x", 1, 1);
    let update = case.put("/~", "prevExist=true&value=y");
    update.is(200, &redone("update", &file("/~", "y", 2, 1), &former));
    case.get("/~").is(200, &done("get", &file("/~", "y", 2, 1)));
}

fn item_028_create_needs_the_absence_of_the_key(case: &mut Case) {
    let create = case.put("/~", "prevExist=false&value=x");
    create.is(201, &done("create", &file("/~", "x", 1, 1)));
    case.put("/~", "prevExist=false&value=y").fails(105, "/~", 1);
    case.get("/~").is(200, &done("get", &file("/~", "x", 1, 1)));
}

fn item_029_create_ignores_the_former_value(case: &mut Case) {
    let create = case.put("/~", "prevExist=false&prevValue=never&prevIndex=9999999&value=x");
    create.is(201, &done("create", &file("/~", "x", 1, 1)));
}

fn item_030_a_wrong_value_is_named_beside_the_right_one(case: &mut Case) {
    let _ = case.put("/~", "value=one");
    case.put("/~", "prevValue=two&value=x").fails(101, "[two != one]", 1);
    case.put("/~", "prevExist=true&prevValue=two&value=x").fails(101, "[two != one]", 1);
    let former = file("/~", "one", 1, 1);
    let swap = case.put("/~", "prevValue=one&value=x");
    swap.is(200, &redone("compareAndSwap", &file("/~", "x", 2, 1), &former));
}

fn item_031_only_what_is_wrong_is_named(case: &mut Case) {
    let _ = case.put("/~", "value=w");
    case.put("/~", "prevValue=v&prevIndex=1&value=x").fails(101, "[v != w] [1 != @1]", 1);
    case.put("/~", "prevValue=w&prevIndex=1&value=x").fails(101, "[1 != @1]", 1);
    case.put("/~", "prevValue=v&prevIndex=@1&value=x").fails(101, "[v != w]", 1);
    case.put("/~", "prevIndex=1&value=x").fails(101, "[1 != @1]", 1);
    let former = file("/~", "w", 1, 1);
    let swap = case.put("/~", "prevValue=w&prevIndex=@1&value=x");
    swap.is(200, &redone("compareAndSwap", &file("/~", "x", 2, 1), &former));
}

fn item_032_index_0_is_no_condition(case: &mut Case) {
    let put = case.put("/~", "prevIndex=0&value=x");
    put.is(201, &done("set", &file("/~", "x", 1, 1)));
    let former = file("/~", "x", 1, 1);
    case.delete("/~?prevIndex=0").is(200, &redone("delete", &no_file("/~", 2, 1), &former));
}

fn item_033_swap_needs_a_file(case: &mut Case) {
    case.put("/~", "prevValue=x&value=y").fails(100, "/~", 0);
    case.put("/~", "prevIndex=7&value=y").fails(100, "/~", 0);
    let _ = case.put("/~", "dir=true");
    case.put("/~", "prevValue=x&value=y").fails(102, "/~", 1);
    case.put("/~", "prevIndex=@1&value=y").fails(102, "/~", 1);
}

fn item_034_swap_without_ttl_makes_permanent(case: &mut Case) {
    let put = case.put("/~", "value=a&ttl=1000").json();
    assert_eq!(put["node"]["ttl"], 1000, "{put}");
    let swap = case.put("/~", "prevValue=a&value=b");
    let prev = swap.json()["prevNode"].clone();
    assert!(prev["ttl"].is_u64() && prev["expiration"].is_string(), "{prev}");
    assert_eq!(swap.json()["node"].get("expiration"), None);
    case.get("/~").is(200, &done("get", &file("/~", "b", 2, 1)));
}

fn item_035_delete_ignores_prev_exist_and_its_body(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = "/v2/keys/~?prevExist=false";
    let reply = case.request("DELETE", path, &form, "prevValue=other&prevIndex=1");
    reply.is(200, &redone("delete", &no_file("/~", 2, 1), &file("/~", "x", 1, 1)));
}

fn item_036_compare_and_delete(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    case.delete("/~?prevValue=y").fails(101, "[y != x]", 1);
    case.delete("/~?prevIndex=1").fails(101, "[1 != @1]", 1);
    let former = file("/~", "x", 1, 1);
    let gone = redone("compareAndDelete", &no_file("/~", 2, 1), &former);
    case.delete("/~?prevValue=x&prevIndex=@1").is(200, &gone);
    case.delete("/~?prevValue=x").fails(100, "/~", 2);
}

fn item_037_compare_and_delete_needs_a_file(case: &mut Case) {
    case.put("/~", "dir=true").is(201, &done("set", &dir("/~", 1, 1)));
    case.delete("/~?prevIndex=@1").fails(102, "/~", 1);
    case.delete("/~?prevIndex=@1&recursive=true&dir=true").fails(102, "/~", 1);
}

fn item_038_no_value_on_success(case: &mut Case) {
    let quiet = |form: &str| format!("noValueOnSuccess=true&{form}");
    let create = case.put("/~", &quiet("prevExist=false&value=x"));
    create.is(201, r#"{"action":"create"}"#);
    assert_eq!(create.header("X-Etcd-Index"), case.at(1).to_string());
    case.put("/~", &quiet("value=y")).is(200, r#"{"action":"set"}"#);
    case.put("/~", &quiet("prevExist=true&value=z")).is(200, r#"{"action":"update"}"#);
    case.put("/~", &quiet("prevValue=z&value=a")).is(200, r#"{"action":"compareAndSwap"}"#);
    case.post("/~dir", &quiet("value=x")).is(201, r#"{"action":"create"}"#);
    case.put("/~", &quiet("prevExist=false&value=x")).fails(105, "/~", 5);
    let get = case.get("/~?noValueOnSuccess=true");
    get.is(200, &done("get", &file("/~", "a", 4, 2)));
    let gone = redone("delete", &no_file("/~", 6, 2), &file("/~", "a", 4, 2));
    case.delete("/~?noValueOnSuccess=true").is(200, &gone);
}

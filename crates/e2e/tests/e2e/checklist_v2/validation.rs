//! Items 18-26: fields that cannot be read, in the order in which they are looked at.

use super::case::{Case, done, file};

super::items! {
    shared: item_018_prev_index_is_a_number,
        item_019_wait_index_is_a_number_for_every_verb,
        item_020_switches_are_gos_spellings_of_true_and_false,
        item_021_prev_exist_and_refresh_are_named_without_quotes,
        item_022_only_get_can_wait,
        item_023_prev_value_is_not_empty,
        item_024_ttl_is_a_number_or_empty,
        item_025_refresh_needs_a_ttl_and_no_value,
        item_026_broken_escapes_are_refused,
        item_018_to_026_the_first_wrong_field_is_named;
}

const VERBS: [&str; 4] = ["GET", "PUT", "POST", "DELETE"];

fn item_018_prev_index_is_a_number(case: &mut Case) {
    let cause = r#"invalid value for "prevIndex""#;
    for text in ["foo", "", "-1", "1.5", "+1", "18446744073709551616"] {
        case.put("/~", &format!("prevIndex={text}&value=x")).refused(203, cause);
        case.delete(&format!("/~?prevIndex={text}")).refused(203, cause);
    }
    case.put("/~", "prevIndex=18446744073709551615").fails(100, "/~", 0);
}

fn item_019_wait_index_is_a_number_for_every_verb(case: &mut Case) {
    for verb in VERBS {
        for text in ["foo", ""] {
            let path = format!("/v2/keys/~?waitIndex={text}");
            let reply = case.request(verb, &path, &[], "");
            reply.refused(203, r#"invalid value for "waitIndex""#);
        }
    }
}

fn item_020_switches_are_gos_spellings_of_true_and_false(case: &mut Case) {
    for name in ["recursive", "sorted", "wait", "dir", "quorum", "stream", "noValueOnSuccess"] {
        for text in ["yes", "", "tRUE", "2"] {
            let cause = format!(r#"invalid value for "{name}""#);
            case.get(&format!("/~?{name}={text}")).refused(209, &cause);
        }
    }
    let _ = case.put("/~", "value=x");
    for text in ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"] {
        let reply = case.get(&format!("/~?recursive={text}&quorum={text}"));
        reply.is(200, &done("get", &file("/~", "x", 1, 1)));
    }
}

fn item_021_prev_exist_and_refresh_are_named_without_quotes(case: &mut Case) {
    for text in ["bogus", ""] {
        let form = format!("prevExist={text}");
        case.put("/~", &form).refused(209, "invalid value for prevExist");
        case.put("/~", &format!("refresh={text}")).refused(209, "invalid value for refresh");
    }
}

fn item_022_only_get_can_wait(case: &mut Case) {
    let cause = r#""wait" can only be used with GET requests"#;
    case.put("/~", "wait=true").refused(209, cause);
    case.post("/~", "wait=true").refused(209, cause);
    case.delete("/~?wait=true").refused(209, cause);
    let head = case.request("HEAD", "/v2/keys/~?wait=true", &[], "");
    assert_eq!(head.has_status(400).header("X-Etcd-Index"), "0");
}

fn item_023_prev_value_is_not_empty(case: &mut Case) {
    case.put("/~", "prevValue=&value=x").refused(201, r#""prevValue" cannot be empty"#);
    case.delete("/~?prevValue=").refused(201, r#""prevValue" cannot be empty"#);
}

fn item_024_ttl_is_a_number_or_empty(case: &mut Case) {
    for text in ["-1", "1.5", "x", "12345678901234567890123"] {
        case.put("/~", &format!("ttl={text}")).refused(202, r#"invalid value for "ttl""#);
    }
    case.put("/~", "value=x&ttl=").is(201, &done("set", &file("/~", "x", 1, 1)));
}

fn item_025_refresh_needs_a_ttl_and_no_value(case: &mut Case) {
    case.put("/~", "refresh=true").refused(212, "No TTL value set");
    case.put("/~", "refresh=true&ttl=").refused(212, "No TTL value set");
    let cause = "A value was provided on a refresh";
    case.put("/~", "refresh=true&value=x").refused(211, cause);
    case.put("/~", "refresh=true&value=x&ttl=5").refused(211, cause);
    case.get("/~?refresh=true").refused(212, "No TTL value set");
    case.delete("/~?refresh=true&value=x").refused(211, cause);
    case.put("/~", "refresh=true&value=&ttl=1000").fails(100, "/~", 0);
}

fn item_026_broken_escapes_are_refused(case: &mut Case) {
    case.get("/~?a=%zz").refused(210, r#"invalid URL escape "%zz""#);
    case.put("/~", "value=%zz").refused(210, r#"invalid URL escape "%zz""#);
    case.put("/~", "value=%a").refused(210, r#"invalid URL escape "%a""#);
    case.get("/~?a=1;b=2").refused(210, "invalid semicolon separator in query");
    case.put("/~", "value=1;2").refused(210, "invalid semicolon separator in query");
}

/// Takes the wrong fields away one by one.
fn item_018_to_026_the_first_wrong_field_is_named(case: &mut Case) {
    let fields = [
        ("a=%zz", 210, r#"invalid URL escape "%zz""#),
        ("prevIndex=x", 203, r#"invalid value for "prevIndex""#),
        ("waitIndex=x", 203, r#"invalid value for "waitIndex""#),
        ("recursive=x", 209, r#"invalid value for "recursive""#),
        ("sorted=x", 209, r#"invalid value for "sorted""#),
        ("wait=x", 209, r#"invalid value for "wait""#),
        ("dir=x", 209, r#"invalid value for "dir""#),
        ("quorum=x", 209, r#"invalid value for "quorum""#),
        ("stream=x", 209, r#"invalid value for "stream""#),
        ("wait=true", 209, r#""wait" can only be used with GET requests"#),
        ("prevValue=", 201, r#""prevValue" cannot be empty"#),
        ("noValueOnSuccess=x", 209, r#"invalid value for "noValueOnSuccess""#),
        ("ttl=x", 202, r#"invalid value for "ttl""#),
        ("prevExist=x", 209, "invalid value for prevExist"),
        ("refresh=x", 209, "invalid value for refresh"),
    ];
    for first in 0..fields.len() {
        let (_, code, cause) = fields[first];
        // Those of the same name that come later would hide behind the first.
        let form: Vec<&str> = fields[first..].iter().rev().map(|field| field.0).collect();
        let form: Vec<&str> = match form.iter().position(|field| *field == "wait=true") {
            Some(_) if fields[first..].iter().any(|field| field.0 == "wait=x") => {
                form.into_iter().filter(|field| *field != "wait=true").collect()
            }
            _ => form,
        };
        case.put("/~", &form.join("&")).refused(code, cause);
    }
}

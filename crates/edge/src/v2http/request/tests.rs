use super::*;

const NOW: i64 = 1_795_327_346_640_627_100;

fn parsed(method: Method, query: &str) -> Result<KeysRequest, V2Error> {
    parse(&method, "/a/b/", &Form::parse(b"", query).unwrap(), NOW)
}

#[test]
fn every_parameter_reaches_its_field() {
    let query = "value=v&dir=1&ttl=7&refresh=0&prevExist=t&prevValue=p&prevIndex=9&recursive=T\
                 &sorted=True&quorum=TRUE&waitIndex=11&stream=true&noValueOnSuccess=1";
    let expected = V2Request {
        method: "PUT".to_owned(),
        path: "/1/a/b".to_owned(),
        val: "v".to_owned(),
        dir: true,
        prev_value: "p".to_owned(),
        prev_index: 9,
        prev_exist: Some(true),
        expiration: NOW + 7_000_000_000,
        since: 11,
        recursive: true,
        sorted: true,
        quorum: true,
        stream: true,
        refresh: Some(false),
        ..V2Request::default()
    };
    let parsed = parsed(Method::PUT, query).unwrap();
    assert_eq!(parsed.request, expected);
    assert!(parsed.no_value_on_success);
}

#[test]
fn absent_and_empty_differ() {
    let absent = parsed(Method::PUT, "").unwrap();
    let request = &absent.request;
    assert_eq!((request.prev_exist, request.refresh, request.expiration), (None, None, 0));
    assert_eq!((request.val.as_str(), request.prev_index, request.dir), ("", 0, false));
    assert_eq!(parsed(Method::PUT, "ttl=").unwrap().request.expiration, 0);
    assert_eq!(parsed(Method::PUT, "ttl=0").unwrap().request.expiration, NOW);
    assert!(parsed(Method::GET, "wait=1").unwrap().request.wait);
}

#[test]
fn checks_come_in_order() {
    use V2Code::{IndexNotNumber, InvalidField, PrevValueRequired, RefreshTtlRequired};
    use V2Code::{RefreshValue, TtlNotNumber};
    // Each row fails its own check and all those below it.
    let rows = [
        ("prevIndex=x", IndexNotNumber, "invalid value for \"prevIndex\""),
        ("waitIndex=x", IndexNotNumber, "invalid value for \"waitIndex\""),
        ("recursive=x", InvalidField, "invalid value for \"recursive\""),
        ("sorted=x", InvalidField, "invalid value for \"sorted\""),
        ("wait=x", InvalidField, "invalid value for \"wait\""),
        ("dir=x", InvalidField, "invalid value for \"dir\""),
        ("quorum=x", InvalidField, "invalid value for \"quorum\""),
        ("stream=x", InvalidField, "invalid value for \"stream\""),
        ("wait=true", InvalidField, "\"wait\" can only be used with GET requests"),
        ("prevValue=", PrevValueRequired, "\"prevValue\" cannot be empty"),
        ("noValueOnSuccess=x", InvalidField, "invalid value for \"noValueOnSuccess\""),
        ("ttl=x", TtlNotNumber, "invalid value for \"ttl\""),
        ("prevExist=x", InvalidField, "invalid value for prevExist"),
        ("refresh=x", InvalidField, "invalid value for refresh"),
        ("refresh=true&value=v", RefreshValue, "A value was provided on a refresh"),
        ("refresh=true", RefreshTtlRequired, "No TTL value set"),
    ];
    for (at, (_, code, cause)) in rows.iter().enumerate() {
        // The first value of a name counts, so later rows of the same name change nothing.
        let query: Vec<&str> = rows[at..].iter().map(|(query, ..)| *query).collect();
        let error = parsed(Method::PUT, &query.join("&")).unwrap_err();
        assert_eq!(error, V2Error::new(*code, *cause, 0));
    }
}

#[test]
fn numbers_and_booleans_follow_go() {
    let numbers = [
        ("0", Some(0)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("+5", None),
        ("++5", None),
        ("-1", None),
        ("1_0", None),
        (" 1", None),
        ("0x1", None),
    ];
    for (text, expected) in numbers {
        assert_eq!(decimal(text).ok(), expected, "{text:?}");
    }
    for text in ["1", "t", "T", "true", "TRUE", "True"] {
        assert_eq!(boolean(text), Some(true));
    }
    for text in ["0", "f", "F", "false", "FALSE", "False"] {
        assert_eq!(boolean(text), Some(false));
    }
    for text in ["", "yes", "tRUE", "on", "2", " 1"] {
        assert_eq!(boolean(text), None);
    }
}

#[test]
fn seconds_wrap_as_in_go() {
    let cases = [
        (0, NOW),
        (5, NOW + 5_000_000_000),
        (u64::MAX, NOW - 1_000_000_000),
        (9_223_372_036, NOW.wrapping_add(9_223_372_036_000_000_000)),
        (1 << 63, NOW),
    ];
    for (ttl, expected) in cases {
        assert_eq!(expiration(NOW, ttl), expected, "{ttl}");
    }
    assert!(expiration(NOW, 9_223_372_036) < 0, "before the year 2000");
}

#[test]
fn keys_are_cleaned_below_their_name_space() {
    for (key, path) in [("", "/1"), ("/", "/1"), ("/a", "/1/a"), ("/a/b/", "/1/a/b")] {
        let form = Form::default();
        assert_eq!(parse(&Method::GET, key, &form, NOW).unwrap().request.path, path);
    }
}

use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_and_defaults_parse() {
    let mut seen = BTreeSet::new();
    for flag in TABLE {
        assert!(seen.insert(flag.name), "{} twice", flag.name);
        assert!(flag.is_default(flag.default), "{}", flag.name);
        let may_be_blank = matches!(flag.name, "data-dir" | "enable-v2" | "initial-cluster");
        assert!(may_be_blank || flag.check(flag.default).is_ok(), "default of {}", flag.name);
        if let Status::NotYet(harmless) = flag.status {
            assert!(harmless.iter().all(|value| flag.check(value).is_ok()), "{}", flag.name);
        }
        if let Status::OldNameOf(newer) = flag.status {
            let newer = find(newer).expect("newer name in the table");
            assert_eq!(newer.status, Status::Supported, "{}", flag.name);
            assert_eq!(newer.kind, flag.kind, "{}", flag.name);
        }
        let is_listed = flag.group != Group::Hidden;
        assert_eq!(is_listed, !flag.help.is_empty(), "{}", flag.name);
        assert!(!is_listed || flag.status == Status::Supported, "{}", flag.name);
    }
}

#[test]
fn environment_names_follow_etcds_rule() {
    let flag = find("listen-peer-urls").expect("in the table");
    assert_eq!(flag.env_name(), "ETCD_LISTEN_PEER_URLS");
}

#[test]
fn numbers_and_booleans_follow_gos_syntax() {
    let cases = [
        ("0", Some(0)),
        ("10", Some(10)),
        ("0x1F", Some(31)),
        ("0b11", Some(3)),
        ("0o17", Some(15)),
        ("017", Some(15)),
        ("1_000", Some(1000)),
        ("0x_f", Some(15)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("_1", None),
        ("1_", None),
        ("1__0", None),
        ("", None),
        ("+1", None),
        ("-1", None),
        ("0x", None),
        ("08", None),
        ("1.5", None),
    ];
    for (text, value) in cases {
        assert_eq!(parse_unsigned(text), value, "{text:?}");
    }
    let cases = [
        ("-1", Some(-1)),
        ("+7", Some(7)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("--1", None),
        ("+-1", None),
    ];
    for (text, value) in cases {
        assert_eq!(parse_signed(text), value, "{text:?}");
    }
    assert_eq!(parse_bool("T"), Some(true));
    assert_eq!(parse_bool("tRUE"), None);
    assert_eq!(parse_bool(""), None);
}

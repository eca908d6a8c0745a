//! Golden JSON, taken from real members of 3.4.23 and 3.5.1.

use super::*;

fn urls(list: &[&str]) -> Vec<String> {
    list.iter().map(|url| (*url).to_owned()).collect()
}

fn gold() -> Member {
    Member {
        id: NodeId(17_304_556_497_439_077_380),
        peer_urls: urls(&["http://127.77.1.2:2380"]),
        is_learner: false,
        name: "g<o>&ld".to_owned(),
        client_urls: urls(&["http://127.77.1.2:2379"]),
    }
}

fn learner() -> Member {
    Member {
        id: NodeId(4_335_944_934_765_476_193),
        peer_urls: urls(&["http://127.77.1.6:2380"]),
        is_learner: true,
        ..Member::default()
    }
}

const GOLD: &str = r#"{"id":17304556497439077380,"peerURLs":["http://127.77.1.2:2380"],"name":"g\u003co\u003e\u0026ld","clientURLs":["http://127.77.1.2:2379"]}"#;
const LEARNER: &str =
    r#"{"id":4335944934765476193,"peerURLs":["http://127.77.1.6:2380"],"isLearner":true}"#;

#[test]
fn members_are_written_as_go_does_and_read_back() {
    for (member, text) in [(gold(), GOLD), (learner(), LEARNER)] {
        assert_eq!(member_to_json(&member), text);
        assert_eq!(member_from_json(text.as_bytes()).unwrap(), member);
        assert_eq!(conf_change_context(&member, false), text);
        assert_eq!(parse_context(text.as_bytes()).unwrap(), (member, false));
    }
    let list = format!("[{LEARNER},{GOLD}]\n");
    assert_eq!(members_to_json(&[learner(), gold()]), list);
    assert_eq!(members_from_json(list.as_bytes()).unwrap(), [learner(), gold()]);
    assert_eq!(members_to_json(&[]), "[]\n");
}

#[test]
fn promotion_context_has_null_urls() {
    let member = Member { id: NodeId(7), ..Member::default() };
    let text = r#"{"id":7,"peerURLs":null,"isPromote":true}"#;
    assert_eq!(conf_change_context(&member, true), text);
    assert_eq!(parse_context(text.as_bytes()).unwrap(), (member, true));
}

#[test]
fn attributes_are_written_as_go_does_and_read_back() {
    let published = r#"{"name":"g\u003co\u003e\u0026ld","clientURLs":["http://127.77.1.2:2379"]}"#;
    assert_eq!(attributes_to_json(&gold().name, &gold().client_urls), published);
    let read = attributes_from_json(published.as_bytes()).unwrap();
    assert_eq!(read, (gold().name, gold().client_urls));
    assert_eq!(attributes_to_json("", &[]), "{}");

    let decided = r#"{"peerURLs":["http://127.77.1.6:2380"],"isLearner":true}"#;
    assert_eq!(raft_attributes_to_json(&learner().peer_urls, true), decided);
    let read = raft_attributes_from_json(decided.as_bytes()).unwrap();
    assert_eq!(read, (learner().peer_urls, true));
}

#[test]
fn conf_state_omits_empty_lists() {
    let cases = [
        (
            ConfState { voters: vec![1, u64::MAX], ..ConfState::default() },
            r#"{"voters":[1,18446744073709551615],"auto_leave":false}"#,
        ),
        (
            ConfState { voters: vec![1], learners: vec![2], ..ConfState::default() },
            r#"{"voters":[1],"learners":[2],"auto_leave":false}"#,
        ),
        (ConfState::default(), r#"{"auto_leave":false}"#),
    ];
    for (conf_state, text) in cases {
        assert_eq!(conf_state_to_json(&conf_state), text);
        assert_eq!(conf_state_from_json(text.as_bytes()).unwrap(), conf_state);
    }
}

#[test]
fn readers_are_lenient_where_go_is_and_strict_elsewhere() {
    let empty = Member::default();
    for text in ["{}", r#"{"peerURLs":null,"unknown":[1,{}]}"#, r#" {"name":"","clientURLs":[]} "#]
    {
        assert_eq!(member_from_json(text.as_bytes()).unwrap(), empty, "{text}");
    }
    let bad = [
        "",
        "[]",
        "{",
        r#"{"id":-1}"#,
        r#"{"id":"1"}"#,
        r#"{"id":1.5}"#,
        r#"{"id":18446744073709551616}"#,
        r#"{"peerURLs":"x"}"#,
        "{}x",
        "\u{1}",
    ];
    for text in bad {
        assert!(member_from_json(text.as_bytes()).is_err(), "{text}");
    }
    assert!(member_from_json(&[b'{', 0xff, b'}']).is_err());
    assert!(members_from_json(b"{}").is_err());
    assert!(conf_state_from_json(b"[]").is_err());
}

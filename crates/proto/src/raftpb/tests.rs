//! Bytes that real members wrote, and input that nobody should write.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::entry::{EntryPayload, decode_payload};
use crate::etcdserverpb::{InternalRaftRequest, PutRequest, RequestHeader};
use crate::v2_request::V2Request;

/// Bytes from hex; blanks are ignored.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hex digit"))
        .collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("byte")).collect()
}

/// A value whose encoding is known exactly, in both directions.
macro_rules! check_exact {
    ($type:ident, $value:expr, $text:expr) => {{
        let (value, bytes): ($type, Bytes) = ($value, hex($text));
        assert_eq!(value.encode(), bytes, "encode {}", $text);
        assert_eq!(value.encoded_len(), bytes.len(), "length of {}", $text);
        assert_eq!($type::decode(bytes), Ok(value), "decode {}", $text);
    }};
}

#[test]
fn go_bytes_are_written_and_read() {
    let vote = 0xad3c_d5bb_ed8f_0325;
    check_exact!(HardState, HardState { term: 1, vote: 0, commit: 3 }, "0801 1000 1803");
    check_exact!(
        HardState,
        HardState { term: 1, vote: 0x3beb_74ea_4eab_4f3c, commit: 2 },
        "0801 10bc9eadf5a49dddf53b 1802"
    );
    check_exact!(Entry, Entry { term: 2, index: 4, ..Entry::default() }, "0800 1002 1804");
    check_exact!(
        Entry,
        Entry { entry_type: EntryType::ConfChange, term: 1, index: 1, data: hex("0102") },
        "0801 1001 1801 22020102"
    );
    check_exact!(ConfState, ConfState::default(), "2800");
    check_exact!(
        ConfState,
        ConfState { voters: vec![1, 300], learners: vec![7], ..ConfState::default() },
        "0801 08ac02 1007 2800"
    );
    check_exact!(Snapshot, Snapshot::default(), "12080a02280010001800");
    check_exact!(
        Snapshot,
        Snapshot {
            data: Bytes::from_static(b"{}"),
            metadata: SnapshotMetadata {
                conf_state: ConfState { voters: vec![vote], ..ConfState::default() },
                index: 51,
                term: 2,
            },
        },
        "0a027b7d 1213 0a0d 08a586bcecbeb7b59ead01 2800 1033 1802"
    );
}

#[test]
fn conf_changes_use_etcd_numbers() {
    let check = |change_type, text| {
        check_exact!(
            ConfChange,
            ConfChange { id: 5, change_type, node_id: 9, context: Bytes::new() },
            text
        );
    };
    check(ConfChangeType::AddNode, "0805 1000 1809");
    check(ConfChangeType::RemoveNode, "0805 1001 1809");
    check(ConfChangeType::UpdateNode, "0805 1002 1809");
    check(ConfChangeType::AddLearnerNode, "0805 1003 1809");
    // The first entry of a new cluster of three, as 3.5.1 and, without zeros, 3.7 write it.
    let old = hex("0800 1000 18948eff8bbbf09aad7f 22027b7d");
    let new = hex("18948eff8bbbf09aad7f 22027b7d");
    let change = ConfChange::decode(old.clone()).unwrap();
    assert_eq!(change.node_id, 0x7f5a_6b83_b17f_c714);
    assert_eq!(change.context, "{}");
    assert_eq!(ConfChange::decode(new), Ok(change.clone()));
    assert_eq!(change.encode(), old);
}

#[test]
fn link_heartbeats_of_all_generations_are_read() {
    let heartbeat = Message::default();
    let shapes = [
        "0808 1000 1800 2000 2800 3000 4000 4a0a12080a02280010001800 5000 5800", // 3.5
        "0808 1000 1800 2000 2800 3000 4000 5000 5800 6800",                     // 3.6
        "0808",                                                                  // 3.7
    ];
    for shape in shapes {
        assert_eq!(Message::decode(hex(shape)), Ok(heartbeat.clone()), "{shape}");
    }
    assert_eq!(heartbeat.encode(), hex(shapes[1]));
    let to_one = Message { to: 1, ..Message::default() };
    check_exact!(Message, to_one, "0808 1001 1800 2000 2800 3000 4000 5000 5800 6800");
}

#[test]
fn captured_messages_of_3_5_are_read() {
    let append = hex(
        "0803 10d9c085f5c0d1c0bcb401 18a586bcecbeb7b59ead01 2002 2801 3003 3a06 080010021804 4003
         4a0a12080a02280010001800 5000 5800",
    );
    let expected = Message {
        message_type: MessageType::App,
        to: 0xb479_028c_0ea1_6059,
        from: 0xad3c_d5bb_ed8f_0325,
        term: 2,
        log_term: 1,
        index: 3,
        entries: vec![Entry { term: 2, index: 4, ..Entry::default() }],
        commit: 3,
        ..Message::default()
    };
    assert_eq!(Message::decode(append), Ok(expected));

    let read_index = hex("0808 1001 1802 2002 2800 3000 4000 4a0a12080a02280010001800 5000 5800
         6208 54f0a201e8c8f003");
    let message = Message::decode(read_index).unwrap();
    assert_eq!(message.context, hex("54f0a201e8c8f003"));
    assert_eq!(message.snapshot, None);
}

#[test]
fn message_fields_13_and_14_and_unknown_ones_are_skipped() {
    let plain = Message { to: 1, ..Message::default() };
    let cases = [
        "0808 1001 6807",                     // vote, or raft-rs's request_snapshot
        "0808 1001 7007",                     // raft-rs's priority
        "0808 1001 7204 08081001",            // responses of 3.6
        "0808 1001 7805 800109",              // raft-rs's commit_term and new priority
        "0808 1001 9101 0102030405060708",    // fixed64
        "0808 1001 9501 01020304",            // fixed32
        "0808 1001 9301 0805 9301 9401 9401", // groups
    ];
    for case in cases {
        assert_eq!(Message::decode(hex(case)), Ok(plain.clone()), "{case}");
    }
}

#[test]
fn lists_are_read_packed_and_unpacked_and_mixed() {
    let expected = ConfState { voters: vec![1, 300, 3], auto_leave: true, ..ConfState::default() };
    for text in ["0801 08ac02 0803 2801", "0a0401ac0203 2801", "0801 2801 0a03ac0203"] {
        assert_eq!(ConfState::decode(hex(text)), Ok(expected.clone()), "{text}");
    }
}

#[test]
fn snapshot_travels_with_its_own_message_only() {
    let snapshot = Some(Snapshot { data: hex("01"), ..Snapshot::default() });
    let mut message = Message {
        message_type: MessageType::Snap,
        snapshot: snapshot.clone(),
        ..Message::default()
    };
    assert_eq!(Message::decode(message.encode()).unwrap().snapshot, snapshot);
    message.message_type = MessageType::App;
    assert_eq!(message.encode().len(), message.encoded_len());
    assert_eq!(Message::decode(message.encode()).unwrap().snapshot, None);
}

#[test]
fn data_is_a_slice_of_the_input() {
    let entry = Entry { data: Bytes::from(vec![7; 100]), ..Entry::default() };
    let bytes = entry.encode();
    let range = bytes.as_ptr_range();
    assert!(range.contains(&Entry::decode(bytes.clone()).unwrap().data.as_ptr()));
}

#[test]
fn malformed_bytes_are_named() {
    use DecodeError as E;
    let truncated = |missing| E::Truncated { missing };
    let cases = [
        ("08", truncated(1)),
        ("0880", truncated(1)),
        ("2205 0102", truncated(3)),
        ("22ffffffffffffffffff01", truncated(u64::MAX)),
        ("10 ffffffffffffffffff02", E::VarintOverflow),
        ("10 8080808080808080808001", E::VarintOverflow),
        ("00 00", E::BadFieldNumber { number: 0 }),
        ("8080808010 00", E::BadFieldNumber { number: 1 << 29 }),
        ("12 00", E::BadWireType { field: 2, wire_type: 2 }),
        ("20 00", E::BadWireType { field: 4, wire_type: 0 }),
        ("7f 00", E::BadWireType { field: 15, wire_type: 7 }),
        ("7c", E::BadWireType { field: 15, wire_type: 4 }),
        ("7b 84 01", E::BadWireType { field: 16, wire_type: 4 }),
        ("7b", truncated(1)),
        ("0803", E::UnknownEnumValue { name: "EntryType", value: 3 }),
    ];
    for (text, error) in cases {
        assert_eq!(Entry::decode(hex(text)), Err(error), "{text}");
    }
    let groups = hex(&"7b".repeat(40));
    assert_eq!(Entry::decode(groups), Err(E::TooDeep { limit: 32 }));
    let change = ConfChange::decode(hex("1004"));
    assert_eq!(change, Err(E::UnknownEnumValue { name: "ConfChangeType", value: 4 }));
}

#[test]
fn local_kinds_of_messages_are_refused() {
    for value in [0_u8, 1, 10, 11, 12, 19, 20, 21, 22, 23] {
        let error = Err(DecodeError::MessageTypeNotAllowed { value: value.into() });
        assert_eq!(Message::decode(Bytes::from(vec![8, value])), error);
    }
    assert_eq!(Message::decode(Bytes::new()), Err(DecodeError::MessageTypeNotAllowed { value: 0 }));
    let unknown = DecodeError::UnknownEnumValue { name: "MessageType", value: 24 };
    assert_eq!(Message::decode(hex("0818")), Err(unknown));
    for value in [2_u8, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18] {
        let message = Message::decode(Bytes::from(vec![8, value])).unwrap();
        assert_eq!(message.message_type.number(), value);
    }
}

/// The publish request of a 3.5.1 member, in its exact shape.
fn publish() -> (V2Request, Bytes) {
    let request = V2Request {
        id: 0x0325_9a3b_7c1d_2e01,
        method: "PUT".into(),
        path: "/0/members/ad3cd5bbed8f0325/attributes".into(),
        val: r#"{"name":"m1","clientURLs":["http://127.0.0.1:13111"]}"#.into(),
        ..V2Request::default()
    };
    let mut bytes = hex("08 81dcf4e0b7c7a6 9303 1203505554 1a26").to_vec();
    bytes.extend_from_slice(request.path.as_bytes());
    bytes.extend_from_slice(&hex("2235"));
    bytes.extend_from_slice(request.val.as_bytes());
    bytes.extend_from_slice(&hex("2800 3200 3800 4800 5000 5800 6000 6800 7000 7800 800100"));
    (request, bytes.into())
}

#[test]
fn publish_request_has_the_shape_of_3_5() {
    let (mut request, bytes) = publish();
    request.id = V2Request::decode(bytes.clone()).unwrap().id;
    assert_eq!(request.encode(), bytes);
    assert_eq!(request.encoded_len(), bytes.len());
    assert_eq!(V2Request::decode(bytes.clone()), Ok(request.clone()));
    assert_eq!(decode_payload(&bytes), Ok(EntryPayload::V2(request)));
}

#[test]
fn v2_three_state_fields_keep_their_state() {
    for state in [None, Some(false), Some(true)] {
        let request = V2Request {
            prev_exist: state,
            refresh: state,
            expiration: -6_795_364_578_871_345_152,
            time: 5,
            ..V2Request::default()
        };
        let bytes = request.encode();
        assert_eq!(bytes.len(), request.encoded_len());
        assert_eq!(V2Request::decode(bytes), Ok(request));
    }
}

#[test]
fn bare_v2_requests_are_told_from_v3_ones() {
    for method in ["PUT", "POST", "DELETE", "QGET", "SYNC", "HEAD", "GET", ""] {
        for path in ["/1/foo", "/", "/1", "/0/version", "/1/\u{8}\u{1}", ""] {
            let request = V2Request {
                id: 1,
                method: method.into(),
                path: path.into(),
                ..V2Request::default()
            };
            let known = !method.is_empty();
            let payload = decode_payload(&request.encode());
            if known {
                assert_eq!(payload, Ok(EntryPayload::V2(request)), "{method} {path:?}");
            } else {
                assert!(payload.is_ok());
            }
        }
    }
}

#[test]
fn payloads_of_v3_and_empty_entries() {
    assert_eq!(decode_payload(&Bytes::new()), Ok(EntryPayload::Empty));
    let put = InternalRaftRequest {
        header: Some(RequestHeader { id: 7, ..RequestHeader::default() }),
        put: Some(PutRequest { key: "a".into(), value: "b".into(), ..PutRequest::default() }),
        ..InternalRaftRequest::default()
    };
    let bytes = Bytes::from(prost::Message::encode_to_vec(&put));
    assert_eq!(decode_payload(&bytes), Ok(EntryPayload::V3(Box::new(put))));

    let (request, _) = publish();
    let wrapped = InternalRaftRequest { v2: request.encode(), ..InternalRaftRequest::default() };
    let bytes = Bytes::from(prost::Message::encode_to_vec(&wrapped));
    assert_eq!(decode_payload(&bytes), Ok(EntryPayload::V2(request)));

    let neither = decode_payload(&hex("ffff"));
    assert!(matches!(neither, Err(DecodeError::NotARequest { .. })), "{neither:?}");
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop::sample::select(vec![EntryType::Normal, EntryType::ConfChange]);
    (kind, any::<u64>(), any::<u64>(), any_bytes())
        .prop_map(|(entry_type, term, index, data)| Entry { entry_type, term, index, data })
}

fn any_conf_state() -> impl Strategy<Value = ConfState> {
    let list = || prop::collection::vec(any::<u64>(), 0..4);
    (list(), list(), list(), list(), any::<bool>()).prop_map(
        |(voters, learners, voters_outgoing, learners_next, auto_leave)| ConfState {
            voters,
            learners,
            voters_outgoing,
            learners_next,
            auto_leave,
        },
    )
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (any_bytes(), any_conf_state(), any::<u64>(), any::<u64>()).prop_map(
        |(data, conf_state, index, term)| Snapshot {
            data,
            metadata: SnapshotMetadata { conf_state, index, term },
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let numbers = prop::array::uniform7(any::<u64>());
    let entries = prop::collection::vec(any_entry(), 0..3);
    (numbers, entries, prop::option::of(any_snapshot()), any::<bool>(), any_bytes()).prop_map(
        |(n, entries, snapshot, reject, context)| Message {
            message_type: if snapshot.is_some() { MessageType::Snap } else { MessageType::App },
            to: n[0],
            from: n[1],
            term: n[2],
            log_term: n[3],
            index: n[4],
            entries,
            commit: n[5],
            snapshot,
            reject,
            reject_hint: n[6],
            context,
        },
    )
}

/// Feeds bytes to every decoder; what is accepted must survive its own encoding.
fn decode_all(bytes: &Bytes) {
    macro_rules! survive {
        ($($type:ident),+) => {$(
            if let Ok(value) = $type::decode(bytes.clone()) {
                assert_eq!($type::decode(value.encode()), Ok(value));
            }
        )+};
    }
    survive!(
        Entry,
        ConfState,
        SnapshotMetadata,
        Snapshot,
        HardState,
        ConfChange,
        Message,
        V2Request
    );
    let _ = decode_payload(bytes);
}

proptest! {
    #[test]
    fn messages_survive_the_round_trip(message in any_message()) {
        let bytes = message.encode();
        prop_assert_eq!(bytes.len(), message.encoded_len());
        prop_assert_eq!(Message::decode(bytes), Ok(message));
    }

    #[test]
    fn random_bytes_never_panic(bytes in any_bytes()) {
        decode_all(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(
        message in any_message(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = message.encode().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        decode_all(&bytes.into());
    }
}

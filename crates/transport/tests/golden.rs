//! What real Go members sent each other, read by our codecs: recorded bytes in `data`.
//!
//! Each record of the text files is a description that a decoder of its own (not ours) made, and the
//! bytes. The descriptions of what we decode must be the same text.

use std::fmt::Write;

use bytes::Bytes;
use proto::entry::{EntryPayload, decode_payload};
use proto::raftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType};
use transport::{limits, message_codec, msgapp_codec};
use types::NodeId;

const MESSAGES: [&str; 2] =
    [include_str!("data/go-3.4.23-messages.txt"), include_str!("data/go-3.5.1-messages.txt")];

/// Beginnings of msgappv2 streams: sender, receiver, records.
const STREAMS: [(u64, u64, &str); 3] = [
    (0x9e41_bb92_790e_1acb, 0x86fe_97ea_642e_929f, include_str!("data/go-3.4.23-stream.txt")),
    (0x384c_785d_d521_ba17, 0x86fe_97ea_642e_929f, include_str!("data/go-3.5.1-stream.txt")),
    (
        0x384c_785d_d521_ba17,
        0xb5e5_4a23_17ca_97e5,
        include_str!("data/go-3.5.1-stream-to-learner.txt"),
    ),
];

/// The body of a `POST /raft/snapshot`, cut off in the first page of the database.
const SNAPSHOT: &[u8] = include_bytes!("data/go-3.5.1-snapshot-post.bin");

/// Largest message in the recordings, by far.
const LIMIT: usize = 1 << 20;

struct Record {
    description: String,
    bytes: Bytes,
}

fn records(file: &str) -> Vec<Record> {
    let (mut records, mut description) = (Vec::new(), String::new());
    for line in file.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(bytes) = line.strip_prefix("= ") {
            let description = std::mem::take(&mut description);
            records.push(Record { description, bytes: unhex(bytes) });
        } else {
            if !description.is_empty() {
                description.push('\n');
            }
            description.push_str(line);
        }
    }
    assert!(records.len() > 10, "a recording has many records");
    records
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("recorded bytes"), 16)
            .expect("recorded bytes")
    };
    digits.map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("strings take everything");
        out
    })
}

fn describe(message: &Message) -> String {
    let Message { message_type, from, to, term, log_term, index, commit, .. } = message;
    let (reject, hint, context) = (message.reject, message.reject_hint, hex(&message.context));
    let mut out = format!(
        "{message_type:?} {from:x}->{to:x} term={term} log_term={log_term} index={index} \
         commit={commit} reject={reject} hint={hint} context={context}"
    );
    for Entry { entry_type, term, index, data } in &message.entries {
        write!(out, "\n  entry {entry_type:?} {term}/{index} {}", hex(data))
            .expect("strings take everything");
    }
    out
}

#[test]
fn every_kind_of_message_is_read() {
    for file in MESSAGES {
        for record in records(file) {
            let message = Message::decode(record.bytes.clone()).expect("recorded bytes");
            assert_eq!(describe(&message), record.description);
            assert_eq!(message.snapshot, None, "{}", record.description);
            assert_eq!(Message::decode(message.encode()).expect("recorded bytes"), message);
            for entry in &message.entries {
                assert_contains(&record.bytes, &entry.encode());
            }
        }
    }
}

#[test]
fn recordings_hold_all_kinds_that_etcd_sends_there() {
    let mut seen: Vec<MessageType> = Vec::new();
    for record in MESSAGES.into_iter().flat_map(records) {
        seen.push(Message::decode(record.bytes).expect("recorded bytes").message_type);
    }
    let expected = [
        MessageType::Prop,
        MessageType::AppResp,
        MessageType::Vote,
        MessageType::VoteResp,
        MessageType::Heartbeat,
        MessageType::HeartbeatResp,
        MessageType::TimeoutNow,
        MessageType::ReadIndex,
        MessageType::ReadIndexResp,
        MessageType::PreVote,
        MessageType::PreVoteResp,
    ];
    for kind in expected {
        assert!(seen.contains(&kind), "{kind:?}");
    }
}

#[test]
fn message_streams_are_read_in_any_pieces() {
    let all: Vec<Record> = MESSAGES.into_iter().flat_map(records).collect();
    let mut stream = Vec::new();
    for record in &all {
        stream.extend_from_slice(&(record.bytes.len() as u64).to_be_bytes());
        stream.extend_from_slice(&record.bytes);
    }
    for size in [1, 7, stream.len()] {
        let mut decoder = message_codec::Decoder::new(LIMIT);
        let mut found = Vec::new();
        for piece in stream.chunks(size) {
            decoder.push(piece);
            while let Some(message) = decoder.next_message().expect("recorded bytes") {
                found.push(describe(&message));
            }
        }
        assert!(decoder.is_empty());
        assert!(found.iter().eq(all.iter().map(|record| &record.description)));
    }
}

#[test]
fn append_streams_are_read_and_written_alike() {
    for (from, to, file) in STREAMS {
        let mut decoder = msgapp_codec::Decoder::new(NodeId(to), NodeId(from), LIMIT);
        let mut encoder = msgapp_codec::Encoder::default();
        for record in records(file) {
            decoder.push(&record.bytes);
            let message = decoder.next_message().expect("recorded bytes");
            assert!(decoder.is_empty());
            let Some(message) = message else {
                assert_eq!(
                    (record.description.as_str(), &record.bytes[..]),
                    ("heartbeat", &[0][..])
                );
                continue;
            };
            assert_eq!(describe(&message), record.description);
            let mut written = Vec::new();
            encoder.encode(&message, &mut written);
            assert_eq!(written[0], record.bytes[0], "kind of record: {}", record.description);
            if written[0] == 1 {
                assert_eq!(hex(&written), hex(&record.bytes));
            }
            for entry in &message.entries {
                assert_contains(&record.bytes, &entry.encode());
            }
        }
    }
}

#[test]
fn proposals_of_all_kinds_are_read_and_written_alike() {
    let (mut changes, mut v2, mut v3) = (Vec::new(), 0, 0);
    for entry in proposed() {
        match entry.entry_type {
            EntryType::ConfChange => {
                let change = ConfChange::decode(entry.data.clone()).expect("recorded bytes");
                assert_eq!(hex(&change.encode()), hex(&entry.data));
                changes.push(change.change_type);
            }
            EntryType::Normal => match decode_payload(&entry.data).expect("recorded bytes") {
                EntryPayload::Empty => assert!(entry.data.is_empty()),
                EntryPayload::V2(request) => {
                    assert_eq!(hex(&request.encode()), hex(&entry.data));
                    v2 += 1;
                }
                EntryPayload::V3(request) => {
                    assert!(request.put.is_some() && request.header.is_some());
                    v3 += 1;
                }
            },
            EntryType::ConfChangeV2 => panic!("etcd proposes none"),
        }
    }
    let expected = [
        ConfChangeType::AddNode,
        ConfChangeType::RemoveNode,
        ConfChangeType::UpdateNode,
        ConfChangeType::AddLearnerNode,
    ];
    for kind in expected {
        assert!(changes.contains(&kind), "{kind:?}");
    }
    assert!(v2 >= 4 && v3 >= 9, "{v2} {v3}");
}

/// Entries of all proposals and appends.
fn proposed() -> Vec<Entry> {
    let mut entries = Vec::new();
    for record in MESSAGES.into_iter().flat_map(records) {
        let message = Message::decode(record.bytes).expect("recorded bytes");
        if message.message_type == MessageType::Prop {
            entries.extend(message.entries);
        }
    }
    for (from, to, file) in STREAMS {
        let mut decoder = msgapp_codec::Decoder::new(NodeId(to), NodeId(from), LIMIT);
        for record in records(file) {
            decoder.push(&record.bytes);
            entries.extend(
                decoder
                    .next_message()
                    .expect("recorded bytes")
                    .into_iter()
                    .flat_map(|found| found.entries),
            );
        }
    }
    entries
}

#[test]
fn a_posted_snapshot_is_read() {
    let mut decoder = message_codec::Decoder::new(limits::SNAPSHOT_MESSAGE_BYTES_MAX);
    decoder.push(SNAPSHOT);
    let message = decoder.next_message().expect("recorded bytes").expect("recorded bytes");
    assert_eq!(
        describe(&message),
        "Snap 384c785dd521ba17->86fe97ea642e929f term=5 log_term=0 index=0 commit=0 reject=false \
         hint=0 context=-"
    );
    let snapshot = message.snapshot.as_ref().expect("recorded bytes");
    assert_eq!((snapshot.metadata.term, snapshot.metadata.index), (5, 5325));
    let voters = [0x384c_785d_d521_ba17, 0x86fe_97ea_642e_929f, 0x9e41_bb92_790e_1acb];
    assert_eq!(snapshot.metadata.conf_state.voters, voters);
    assert!(snapshot.metadata.conf_state.learners.is_empty());
    assert_eq!(snapshot.data.len(), 10_574);
    assert!(snapshot.data.starts_with(b"{") && snapshot.data.ends_with(b"}"));
    // bbolt's meta page: its number, the flag of its kind, its magic.
    let database = decoder.into_rest();
    assert_eq!(hex(&database[..24]), "00000000000000000400000000000000edda0ced02000000");
    assert_eq!(Message::decode(message.encode()).expect("recorded bytes"), message);
}

#[track_caller]
fn assert_contains(whole: &[u8], part: &[u8]) {
    assert!(whole.windows(part.len()).any(|window| window == part), "{}", hex(part));
}

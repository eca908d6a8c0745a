use bytes::Bytes;
use proptest::prelude::*;
use proto::raftpb::EntryType;

use super::*;

const LOCAL: NodeId = NodeId(0xb479_028c_0ea1_6059);
const REMOTE: NodeId = NodeId(0xad3c_d5bb_ed8f_0325);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decode_pieces(pieces: &[&[u8]]) -> Result<Vec<Message>, StreamError> {
    let mut decoder = Decoder::new(LOCAL, REMOTE, 1 << 20);
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.next_message()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn entry(term: u64, index: u64, data: &'static [u8]) -> Entry {
    Entry { entry_type: EntryType::Normal, term, index, data: Bytes::from_static(data) }
}

fn append(term: u64, log_term: u64, index: u64, entries: Vec<Entry>, commit: u64) -> Message {
    let (to, from) = (LOCAL.0, REMOTE.0);
    let message_type = MessageType::App;
    Message { message_type, to, from, term, log_term, index, entries, commit, ..Message::default() }
}

/// The shape of a capture of 3.5.1: an append in a new term, entries, a commit, a heartbeat.
/// The first record is the captured one: from b479.. in term 2, entry 4, with an empty snapshot.
#[test]
fn capture_of_3_5_1() {
    let record = hex("02 0000000000000038
         0803 10d9c085f5c0d1c0bcb401 18a586bcecbeb7b59ead01 2002 2801 3003 3a06 080010021804 4003
         4a0a12080a02280010001800 5000 5800");
    let entries = hex("01 0000000000000002
         0000000000000009 0800 1002 1805 2201 61
         0000000000000009 0800 1002 1806 2201 62
         0000000000000004");
    let commit = hex("01 0000000000000000 0000000000000006");
    let messages = decode_pieces(&[&record, &entries, &commit, &[0], &[0]]).unwrap();
    assert_eq!(record.len(), 9 + 0x38);
    assert_eq!(
        messages,
        [
            append(2, 1, 3, vec![entry(2, 4, b"")], 3),
            append(2, 2, 4, vec![entry(2, 5, b"a"), entry(2, 6, b"b")], 4),
            append(2, 2, 6, vec![], 6),
        ]
    );
}

#[test]
fn bytes_written_for_the_same_messages() {
    let mut encoder = Encoder::default();
    let mut out = Vec::new();
    encoder.encode(&append(2, 1, 3, vec![entry(2, 4, b"")], 3), &mut out);
    let full = append(2, 1, 3, vec![entry(2, 4, b"")], 3).encode();
    let mut expected = vec![2];
    expected.extend_from_slice(&(full.len() as u64).to_be_bytes());
    expected.extend_from_slice(&full);
    assert_eq!(out, expected);

    out.clear();
    encoder.encode(&append(2, 2, 4, vec![entry(2, 5, b"a"), entry(2, 6, b"b")], 4), &mut out);
    encoder.encode(&append(2, 2, 6, vec![], 6), &mut out);
    encoder.encode_heartbeat(&mut out);
    let expected = hex("01 0000000000000002
         0000000000000009 0800 1002 1805 2201 61
         0000000000000009 0800 1002 1806 2201 62
         0000000000000004
         01 0000000000000000 0000000000000006
         00");
    assert_eq!(out, expected);
}

#[test]
fn a_gap_a_new_term_or_a_resend_is_written_in_full() {
    let mut encoder = Encoder::default();
    let mut kind = |message: Message| {
        let mut out = Vec::new();
        encoder.encode(&message, &mut out);
        out[0]
    };
    assert_eq!(kind(append(2, 1, 3, vec![entry(2, 4, b"")], 3)), APPEND);
    assert_eq!(kind(append(2, 2, 4, vec![entry(2, 5, b"")], 3)), ENTRIES);
    assert_eq!(kind(append(2, 2, 4, vec![entry(2, 5, b"")], 3)), APPEND, "resend");
    assert_eq!(kind(append(2, 2, 7, vec![], 3)), APPEND, "gap");
    assert_eq!(kind(append(2, 2, 7, vec![], 3)), ENTRIES);
    assert_eq!(kind(append(3, 2, 7, vec![], 3)), APPEND, "new term");
}

/// A stream whose first append starts at index 0 in term 0 never exists; one at (0, 0) with a term
/// is written in full because `log_term` differs from `term`.
#[test]
fn first_append_of_a_new_member() {
    let mut encoder = Encoder::default();
    let mut out = Vec::new();
    encoder.encode(&append(1, 0, 0, vec![entry(1, 1, b"x")], 0), &mut out);
    assert_eq!(out[0], APPEND);
}

#[test]
fn errors() {
    let first = hex("02 000000000000000a 0803 2002 2802 3004 4003");
    let with = |tail: &str| {
        let tail = hex(tail);
        decode_pieces(&[&first, &tail])
    };
    assert!(with("").is_ok());
    assert_eq!(with("03"), Err(StreamError::UnknownRecord(3)));
    let entries = RECORD_ENTRIES_MAX;
    assert_eq!(
        with("01 ffffffffffffffff"),
        Err(StreamError::TooLong { announced: u64::MAX, limit: entries })
    );
    assert_eq!(
        with("01 0000000000000001 0000000000000006 0800 1002 1806"),
        Err(StreamError::EntryOutOfOrder { expected: 5, found: 6 })
    );
    assert!(matches!(
        with("01 0000000000000001 0000000000000002 ffff"),
        Err(StreamError::Decode(_))
    ));
    assert_eq!(
        with("02 0000000000000002 0808"),
        Err(StreamError::WrongMessage(MessageType::Heartbeat))
    );
    assert!(matches!(with("02 7fffffffffffffff"), Err(StreamError::TooLong { .. })));
    let last = hex("02 0000000000000013 0803 2002 2802 30ffffffffffffffffff01 4003");
    let one = hex("01 0000000000000001");
    assert_eq!(decode_pieces(&[&last, &one]), Err(StreamError::IndexOverflow));
}

#[test]
fn incomplete_records_wait() {
    let mut decoder = Decoder::new(LOCAL, REMOTE, 1 << 20);
    assert!(decoder.is_empty());
    decoder.push(&hex("01 0000000000000003"));
    assert_eq!(decoder.next_message(), Ok(None));
    assert!(!decoder.is_empty(), "a stream that ends here is cut short");
}

/// Appends as a leader sends them: runs of consecutive entries, with jumps and new terms.
fn leader_messages() -> impl Strategy<Value = Vec<Message>> {
    let step = (0_u64..3, 0_u64..3, 0_usize..4, prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::vec(step, 0..20).prop_map(|steps| {
        let (mut term, mut index, mut log_term) = (1, 0, 0);
        let mut messages = Vec::new();
        for (new_term, jump, count, data) in steps {
            term += new_term / 2;
            index += jump / 2;
            let entries: Vec<Entry> = (1..=count as u64)
                .map(|offset| Entry {
                    entry_type: EntryType::Normal,
                    term,
                    index: index + offset,
                    data: Bytes::from(data.clone()),
                })
                .collect();
            messages.push(append(term, log_term, index, entries, index / 2));
            if count > 0 {
                index += count as u64;
                log_term = term;
            }
        }
        messages
    })
}

proptest! {
    #[test]
    fn round_trip_in_pieces(messages in leader_messages(), piece in 1_usize..60) {
        let mut encoder = Encoder::default();
        let mut bytes = Vec::new();
        for message in &messages {
            encoder.encode(message, &mut bytes);
            encoder.encode_heartbeat(&mut bytes);
        }
        let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
        prop_assert_eq!(decode_pieces(&pieces).unwrap(), messages);
    }

    #[test]
    fn malformed_input_is_an_error_or_waits(
        messages in leader_messages(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        raw in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut encoder = Encoder::default();
        let mut bytes = Vec::new();
        for message in &messages {
            encoder.encode(message, &mut bytes);
        }
        for (at, value) in noise {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let _outcome = decode_pieces(&[&bytes]);
        let _outcome = decode_pieces(&[&raw]);
    }
}

//! Encoding of a `message` stream: any raft message, each behind its length.
//!
//! Owns:       the bytes of one connection that do not make a whole message yet.
//! Uses:       `proto::raftpb`.
//! Never:      I/O; memory for bytes that were only announced.
//! Invariants: after an error the decoder must not be used again.
//! Source:     peer-protocol.md 4.1.

use bytes::{Buf, Bytes, BytesMut};
use proto::raftpb::{DecodeError, Message, MessageType};

/// Why a stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A length beyond the limit.
    #[error("stream announces {announced} bytes or entries, the limit is {limit}")]
    TooLong {
        /// What the stream says.
        announced: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A record of unknown kind.
    #[error("stream record of unknown type {0}")]
    UnknownRecord(u8),
    /// A message on a `msgapp` stream that does not belong there.
    #[error("stream for appends carries a message of type {0:?}")]
    WrongMessage(MessageType),
    /// Entries that do not follow the ones before.
    #[error("stream carries entry {found} where {expected} follows")]
    EntryOutOfOrder {
        /// The next index.
        expected: u64,
        /// What the entry says.
        found: u64,
    },
    /// Indexes that end behind 2^64.
    #[error("stream counts its entries over the largest index")]
    IndexOverflow,
    /// Not a message or entry.
    #[error("decode message of stream")]
    Decode(#[from] DecodeError),
}

/// The heartbeat that keeps a stream open: it is from and to nobody.
#[must_use]
pub fn is_link_heartbeat(message: &Message) -> bool {
    message.message_type == MessageType::Heartbeat && message.from == 0 && message.to == 0
}

/// Appends a message to `out`.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    put_len(out, message.encoded_len());
    message.encode_into(out);
}

/// Appends a link heartbeat to `out`.
pub fn encode_heartbeat(out: &mut Vec<u8>) {
    encode(&Message::default(), out);
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_be_bytes());
}

/// Reads messages out of pieces of a stream.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Decoder {
    /// A decoder at the start of a stream that refuses messages of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message, link heartbeats among them; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a message is too long or malformed.
    pub fn next_message(&mut self) -> Result<Option<Message>, StreamError> {
        match take_sized(&mut self.buffer, self.limit)? {
            Some(bytes) => Ok(Some(Message::decode(bytes)?)),
            None => Ok(None),
        }
    }

    /// What was pushed behind the last message.
    #[must_use]
    pub fn into_rest(self) -> BytesMut {
        self.buffer
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Takes a number of 8 bytes.
pub(crate) fn take_u64(buffer: &mut BytesMut) -> Option<u64> {
    (buffer.len() >= 8).then(|| buffer.get_u64())
}

/// Takes a length and that many bytes, in memory of their own: log entries must not keep the whole
/// receive buffer alive.
pub(crate) fn take_sized(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<Bytes>, StreamError> {
    let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
    let announced = u64::from_be_bytes(*head);
    let too_long = StreamError::TooLong { announced, limit: limit as u64 };
    let len = usize::try_from(announced).ok().filter(|len| *len <= limit).ok_or(too_long)?;
    let Some(body) = buffer.get(8..8 + len) else { return Ok(None) };
    let bytes = Bytes::copy_from_slice(body);
    buffer.advance(8 + len);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEARTBEAT_3_5: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 0x1e, 0x08, 0x08, 0x10, 0x00, 0x18, 0x00, 0x20, 0x00, 0x28, 0x00,
        0x30, 0x00, 0x40, 0x00, 0x4a, 0x0a, 0x12, 0x08, 0x0a, 0x02, 0x28, 0x00, 0x10, 0x00, 0x18,
        0x00, 0x50, 0x00, 0x58, 0x00,
    ];
    const HEARTBEAT_3_7: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 2, 0x08, 0x08];

    fn decode_all(pieces: &[&[u8]]) -> Result<Vec<Message>, StreamError> {
        let mut decoder = Decoder::new(1 << 20);
        let mut messages = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn link_heartbeats_of_every_release() {
        for bytes in [HEARTBEAT_3_5, HEARTBEAT_3_7] {
            let messages = decode_all(&[bytes]).unwrap();
            assert_eq!(messages.len(), 1);
            assert!(is_link_heartbeat(&messages[0]));
        }
        let mut ours = Vec::new();
        encode_heartbeat(&mut ours);
        assert!(is_link_heartbeat(&decode_all(&[&ours]).unwrap()[0]));
        assert_eq!(ours[..8], [0, 0, 0, 0, 0, 0, 0, 20]);
        let real = Message { from: 1, to: 2, ..Message::default() };
        assert!(!is_link_heartbeat(&real));
    }

    #[test]
    fn length_beyond_limit_is_refused_before_the_bytes_come() {
        let mut decoder = Decoder::new(100);
        decoder.push(&101_u64.to_be_bytes());
        let error = StreamError::TooLong { announced: 101, limit: 100 };
        assert_eq!(decoder.next_message(), Err(error));
        let mut decoder = Decoder::new(100);
        decoder.push(&u64::MAX.to_be_bytes());
        assert!(decoder.next_message().is_err());
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let numbers = prop::array::uniform6(any::<u64>());
        (numbers, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
            |(numbers, reject, context)| Message {
                message_type: MessageType::AppResp,
                to: numbers[0],
                from: numbers[1],
                term: numbers[2],
                log_term: numbers[3],
                index: numbers[4],
                commit: numbers[5],
                reject,
                context: context.into(),
                ..Message::default()
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip_in_pieces(
            messages in prop::collection::vec(any_message(), 0..8),
            piece in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                encode(message, &mut bytes);
            }
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            prop_assert_eq!(decode_all(&pieces).unwrap(), messages);
        }

        #[test]
        fn malformed_input_is_an_error_or_waits(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            prefix in 0_u64..64,
        ) {
            let mut framed = prefix.to_be_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            let _outcome = decode_all(&[&framed]);
            let _outcome = decode_all(&[&bytes]);
        }
    }
}

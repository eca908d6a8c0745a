//! The messages of a request as they arrive: limits and marks are checked on the announced length
//! before anything is buffered, and what is compressed is unpacked within the limit.
//!
//! Owns:       the bytes of a compressed message that is not whole yet.
//! Never:      more than the receive limit of one message, packed or not.
//! Invariants: what is handed on is a sequence of whole, uncompressed messages, or ends in grpc-go's
//!             own error; of a unary call it is the first message, and nothing behind it is read.
//! Source:     grpc-go 1.82 `rpc_util.go`; texts in `types::grpc_text`.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use types::grpc_text;

use super::methods::Shape;
use super::preamble::Encoding;
use super::tally::Tally;
use super::{BodyData, BodyError};

/// Length of the prefix of a gRPC message: compression flag and big-endian length.
pub(super) const PREFIX_BYTES: usize = 5;

/// A request body that consists of messages.
pub(crate) struct Frames<B> {
    body: B,
    check: Check,
}

/// What a request body is checked for.
pub(crate) struct Check {
    limit: usize,
    encoding: Encoding,
    shape: Shape,
    state: State,
    messages: u64,
    tally: Arc<Tally>,
    method: usize,
    /// Bytes of the messages so far, for whoever asks in the meantime.
    size: Arc<AtomicU64>,
}

enum State {
    /// Between messages or within a prefix.
    Prefix(Vec<u8>),
    /// Within a message that is passed on as it is: bytes still to come.
    Plain(usize),
    /// Within a compressed one.
    Packed { rest: usize, bytes: Vec<u8> },
    /// Behind the only message.
    Done,
}

impl Check {
    pub(crate) fn new(
        limit: usize,
        encoding: Encoding,
        shape: Shape,
        tally: Arc<Tally>,
        method: usize,
    ) -> Self {
        let state = State::Prefix(Vec::new());
        Self { limit, encoding, shape, state, messages: 0, tally, method, size: Arc::default() }
    }

    /// Bytes of the messages received, as they grow.
    pub(crate) fn size(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.size)
    }

    /// Takes bytes that arrived; returns those to be passed on.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
        if let Some(length) = self.whole_message(&data)? {
            self.ended(length);
            return Ok(data);
        }
        let mut rest = &data[..];
        let mut out = BytesMut::new();
        while !rest.is_empty() && !matches!(self.state, State::Done) {
            rest = self.step(rest, &mut out)?;
        }
        Ok(out.freeze())
    }

    /// The usual case: the bytes are one whole uncompressed message. Its length.
    fn whole_message(&self, data: &[u8]) -> Result<Option<usize>, Status> {
        match (&self.state, data) {
            (State::Prefix(prefix), [0, a, b, c, d, message @ ..]) if prefix.is_empty() => {
                let length = self.length([*a, *b, *c, *d])?;
                Ok((length == message.len()).then_some(length))
            }
            _ => Ok(None),
        }
    }

    fn step<'a>(&mut self, data: &'a [u8], out: &mut BytesMut) -> Result<&'a [u8], Status> {
        match &mut self.state {
            State::Prefix(prefix) => {
                let (head, rest) = data.split_at(data.len().min(PREFIX_BYTES - prefix.len()));
                prefix.extend_from_slice(head);
                if let Ok(prefix) = <[u8; PREFIX_BYTES]>::try_from(prefix.as_slice()) {
                    self.begin(prefix, out)?;
                }
                Ok(rest)
            }
            State::Plain(missing) => {
                let (head, rest) = data.split_at(data.len().min(*missing));
                *missing -= head.len();
                out.extend_from_slice(head);
                if *missing == 0 {
                    self.ended(0);
                }
                Ok(rest)
            }
            State::Packed { rest: missing, bytes } => {
                let (head, rest) = data.split_at(data.len().min(*missing));
                *missing -= head.len();
                bytes.extend_from_slice(head);
                if *missing == 0 {
                    let packed = std::mem::take(bytes);
                    self.unpack(&packed, out)?;
                }
                Ok(rest)
            }
            State::Done => Ok(&[]),
        }
    }

    /// What a prefix announces.
    fn begin(&mut self, prefix: [u8; PREFIX_BYTES], out: &mut BytesMut) -> Result<(), Status> {
        let [flag, length @ ..] = prefix;
        let length = self.length(length)?;
        match (flag, self.encoding) {
            (0, _) => {
                out.extend_from_slice(&prefix);
                self.count(length);
                self.state = State::Plain(length);
                if length == 0 {
                    self.ended(0);
                }
            }
            (1, Encoding::Gzip) => {
                self.state = State::Packed { rest: length, bytes: Vec::new() };
                if length == 0 {
                    self.unpack(&[], out)?;
                }
            }
            (1, Encoding::None) => {
                return Err(Status::internal(grpc_text::COMPRESSED_WITHOUT_ENCODING));
            }
            (flag, _) => return Err(Status::internal(grpc_text::bad_payload_format(flag))),
        }
        Ok(())
    }

    fn length(&self, bytes: [u8; 4]) -> Result<usize, Status> {
        let length = u32::from_be_bytes(bytes) as usize;
        if length > self.limit {
            return Err(Status::resource_exhausted(grpc_text::too_large(length, self.limit)));
        }
        Ok(length)
    }

    fn unpack(&mut self, packed: &[u8], out: &mut BytesMut) -> Result<(), Status> {
        let mut message = Vec::new();
        // One byte more than allowed tells that there is more.
        let room = self.limit as u64 + 1;
        let read = GzDecoder::new(packed).take(room).read_to_end(&mut message);
        read.map_err(|error| Status::internal(grpc_text::bad_compression(error)))?;
        if message.len() > self.limit {
            let text = grpc_text::too_large_decompressed(self.limit);
            return Err(Status::resource_exhausted(text));
        }
        out.put_u8(0);
        out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&message);
        self.ended(message.len());
        Ok(())
    }

    /// A message has come to its end; `length` of it have not been counted yet.
    fn ended(&mut self, length: usize) {
        self.messages += 1;
        self.count(length);
        self.tally.received(self.method);
        self.state = if self.has_one() { State::Done } else { State::Prefix(Vec::new()) };
    }

    fn count(&self, length: usize) {
        self.tally.received_bytes(length);
        self.size.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// Whether the call has one message, as all have whose request is no stream.
    fn has_one(&self) -> bool {
        self.shape != Shape::BidiStream
    }

    /// The client sent what is no message.
    fn broken(&self, status: Status) -> BodyError {
        self.tally.broken(self.method);
        Box::new(status)
    }

    /// What the end of the body means. A message that is cut off is spoken of by another part of
    /// grpc-go in a unary call than in a stream, and so under another code.
    fn end(&self) -> Result<(), Status> {
        match &self.state {
            State::Prefix(prefix) if prefix.is_empty() => {
                let missing = self.has_one() && self.messages == 0;
                if missing { Err(Status::unknown(grpc_text::NO_MESSAGE)) } else { Ok(()) }
            }
            State::Prefix(_) | State::Plain(_) | State::Packed { .. } => match self.shape {
                Shape::Unary => Err(Status::unknown(grpc_text::CUT_MESSAGE)),
                Shape::ServerStream | Shape::BidiStream => {
                    Err(Status::internal(grpc_text::CUT_MESSAGE))
                }
            },
            State::Done => Ok(()),
        }
    }
}

impl<B> Frames<B> {
    pub(crate) fn new(body: B, check: Check) -> Self {
        Self { body, check }
    }
}

impl<B> Body for Frames<B>
where
    B: Body<Data = BodyData> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = BodyData;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BodyData>, BodyError>>> {
        loop {
            if matches!(self.check.state, State::Done) {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let end = self.check.end();
                    return Poll::Ready(end.err().map(|status| Err(self.check.broken(status))));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            match self.check.take(data) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(status) => return Poll::Ready(Some(Err(self.check.broken(status)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.check.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(limit: usize, encoding: Encoding, shape: Shape) -> Check {
        Check::new(limit, encoding, shape, Arc::new(Tally::new(false)), 0)
    }

    /// Feeds pieces; what was passed on, or code and text of the error.
    fn feed(mut check: Check, pieces: &[&[u8]]) -> Result<Vec<u8>, (i32, String)> {
        let mut out = Vec::new();
        let mut run = || {
            for piece in pieces {
                out.extend_from_slice(&check.take(Bytes::copy_from_slice(piece))?);
            }
            check.end()
        };
        let result: Result<(), Status> = run();
        match result {
            Ok(()) => Ok(out),
            Err(status) => Err((i32::from(status.code()), status.message().to_owned())),
        }
    }

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(message).unwrap();
        let packed = writer.finish().unwrap();
        let mut framed = vec![1];
        framed.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&packed);
        framed
    }

    #[test]
    fn lengths_are_checked_however_the_bytes_arrive() {
        let stream = || check(3, Encoding::None, Shape::BidiStream);
        let two = [0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 1, 9];
        assert_eq!(feed(stream(), &[&two]), Ok(two.to_vec()));
        for at in 1..two.len() {
            assert_eq!(feed(stream(), &[&two[..at], &two[at..]]), Ok(two.to_vec()), "{at}");
        }
        let text = "grpc: received message larger than max (4 vs. 3)".to_owned();
        assert_eq!(feed(stream(), &[&[0, 0, 0], &[0, 4]]), Err((8, text)));
        let text = "grpc: received message larger than max (4294967295 vs. 3)".to_owned();
        assert_eq!(feed(stream(), &[&[0, 255, 255, 255, 255]]), Err((8, text)));
    }

    #[test]
    fn a_unary_call_has_one_message() {
        let unary = || check(3, Encoding::None, Shape::Unary);
        let message = [0, 0, 0, 0, 1, 7];
        assert_eq!(feed(unary(), &[&message]), Ok(message.to_vec()));
        assert_eq!(feed(unary(), &[&message, &[0, 0, 0]]), Ok(message.to_vec()));
        assert_eq!(feed(unary(), &[&[&message[..], &message].concat()]), Ok(message.to_vec()));
        assert_eq!(feed(unary(), &[&[0, 0, 0, 0, 0]]), Ok(vec![0; 5]));
        assert_eq!(feed(unary(), &[]), Err((2, "EOF".to_owned())));
        assert_eq!(feed(unary(), &[&message[..3]]), Err((2, "unexpected EOF".to_owned())));
        assert_eq!(feed(unary(), &[&message[..5]]), Err((2, "unexpected EOF".to_owned())));
        assert_eq!(feed(check(3, Encoding::None, Shape::BidiStream), &[]), Ok(vec![]));
    }

    #[test]
    fn a_message_cut_off_in_a_stream_has_a_code_of_its_own() {
        let message = [0, 0, 0, 0, 1, 7];
        for shape in [Shape::ServerStream, Shape::BidiStream] {
            for length in 1..message.len() {
                let cut = feed(check(3, Encoding::None, shape), &[&message[..length]]);
                assert_eq!(cut, Err((13, "unexpected EOF".to_owned())), "{length}");
            }
        }
        let after_one = [&message[..], &message[..3]].concat();
        let stream = check(3, Encoding::None, Shape::BidiStream);
        assert_eq!(feed(stream, &[&after_one]), Err((13, "unexpected EOF".to_owned())));
        let none = feed(check(3, Encoding::None, Shape::ServerStream), &[]);
        assert_eq!(none, Err((2, "EOF".to_owned())));
    }

    #[test]
    fn marks_of_compression() {
        let text = "grpc: compressed flag set with identity or empty encoding".to_owned();
        let packed = gzip(b"abc");
        assert_eq!(feed(check(99, Encoding::None, Shape::Unary), &[&packed]), Err((13, text)));
        let text = "grpc: received unexpected payload format 2".to_owned();
        assert_eq!(
            feed(check(3, Encoding::Gzip, Shape::Unary), &[&[2, 0, 0, 0, 1, 1]]),
            Err((13, text))
        );
    }

    #[test]
    fn compressed_messages_are_unpacked_within_the_limit() {
        let unary = |limit| check(limit, Encoding::Gzip, Shape::Unary);
        let packed = gzip(b"abc");
        let plain = b"\0\0\0\0\x03abc".to_vec();
        for at in 1..packed.len() {
            assert_eq!(feed(unary(99), &[&packed[..at], &packed[at..]]), Ok(plain.clone()));
        }
        assert_eq!(feed(unary(99), &[&plain]), Ok(plain));
        let bomb = gzip(&vec![0; 1 << 20]);
        let text = "grpc: received message after decompression larger than max 65536".to_owned();
        assert_eq!(feed(unary(1 << 16), &[&bomb]), Err((8, text)));
        for bad in [&[1, 0, 0, 0, 3, 1, 2, 3][..], &[1, 0, 0, 0, 0]] {
            let (code, text) = feed(unary(99), &[bad]).unwrap_err();
            assert_eq!(code, 13);
            assert!(text.starts_with("grpc: failed to decompress the message: "), "{text}");
        }
        let mut cut = packed;
        cut.truncate(cut.len() - 4);
        cut[4] -= 4;
        assert_eq!(feed(unary(99), &[&cut]).unwrap_err().0, 13);
    }
}

//! The answer of a call on its way out: counted, and of a stream ended when it has to be.
//!
//! Owns:       the end of a call: its code, counted once.
//! Never:      the messages themselves.
//! Invariants: after trailers of its own it sends nothing more.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

use super::frames::PREFIX_BYTES;
use super::methods::METHODS;
use super::tally::Tally;

/// Why a stream is ended from outside, once it has to be.
pub(super) type Cut = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The body of an answer.
pub struct Outgoing {
    payload: Payload,
    cut: Option<Cut>,
    /// `None` for an answer that belongs to no method.
    account: Option<Account>,
    ended: bool,
}

/// What an answer consists of.
enum Payload {
    /// Whatever a service of tonic makes.
    Generic(tonic::body::Body),
    /// One framed message, until it is handed on, and the end of a call that went well.
    Whole(Option<Bytes>),
}

/// Where a call is counted.
pub(super) struct Account {
    pub(super) tally: Arc<Tally>,
    pub(super) method: usize,
    pub(super) began: Instant,
    /// Bytes of the current message still to come.
    rest: usize,
    /// Bytes of all messages sent.
    sent_bytes: u64,
    slow: Option<Slow>,
}

/// A call whose answer took longer than it should.
pub(super) struct Slow {
    /// Time until there was an answer.
    pub(super) took: Duration,
    /// `None` for a client at a Unix socket.
    pub(super) remote: Option<SocketAddr>,
    /// Bytes of its messages received.
    pub(super) request_bytes: u64,
}

impl Account {
    pub(super) fn open(tally: Arc<Tally>, method: usize) -> Self {
        tally.started(method);
        Self { tally, method, began: Instant::now(), rest: 0, sent_bytes: 0, slow: None }
    }

    /// Has the call warned about at its end, when the size of its answer is known.
    pub(super) fn warn_at_end(&mut self, slow: Slow) {
        self.slow = Some(slow);
    }

    fn close(self, code: Code) {
        self.tally.handled(self.method, code, self.began.elapsed());
        if let Some(slow) = &self.slow {
            self.warn(slow, code);
        }
    }

    /// In etcd's words. How many pairs were asked for and answered, and the request itself, which
    /// etcd logs too, would have to be decoded once more.
    fn warn(&self, slow: &Slow, code: Code) {
        let method = &METHODS[self.method];
        let remote = slow.remote.map(|remote| remote.to_string());
        tracing::warn!(
            time_spent = ?slow.took,
            remote = remote.as_deref().unwrap_or("No remote client info."),
            response_type = format!("/{}/{}", method.service, method.name),
            request_size = slow.request_bytes,
            response_size = self.sent_bytes,
            code = ?code,
            "request stats"
        );
    }

    /// Counts the messages that begin in a piece of the body. A prefix is never split: it is written
    /// together with its message.
    fn count(&mut self, data: &[u8]) {
        let (mut messages, mut bytes) = (0, 0);
        let mut at = self.rest.min(data.len());
        self.rest -= at;
        while let Some([_, a, b, c, d]) = data.get(at..at + PREFIX_BYTES) {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            messages += 1;
            bytes += length as u64;
            let behind = at + PREFIX_BYTES + length;
            self.rest = behind.saturating_sub(data.len());
            at = behind.min(data.len());
        }
        self.sent_bytes += bytes;
        self.tally.sent(self.method, messages, bytes);
    }
}

impl Outgoing {
    /// An answer that is not counted.
    pub(super) fn bare(body: tonic::body::Body) -> Self {
        Self { payload: Payload::Generic(body), cut: None, account: None, ended: false }
    }

    /// One message with its prefix, of a call that went well.
    pub(super) fn whole(message: Bytes, account: Account) -> Self {
        let payload = Payload::Whole(Some(message));
        Self { payload, cut: None, account: Some(account), ended: false }
    }

    /// The answer of a method, of which `headers` may say the end already.
    pub(super) fn new(
        body: tonic::body::Body,
        headers: &mut HeaderMap,
        account: Account,
        cut: Option<Cut>,
    ) -> Self {
        let payload = Payload::Generic(body);
        let mut this = Self { payload, cut, account: Some(account), ended: false };
        spell_as_go(headers);
        if let Some(code) = code_of(headers) {
            this.close(code);
        }
        this
    }

    fn close(&mut self, code: Code) {
        if let Some(account) = self.account.take() {
            account.close(code);
        }
    }

    /// The message, then the trailers.
    fn next_of_whole(&mut self, message: Option<Bytes>) -> Frame<Bytes> {
        match message {
            Some(message) => {
                if let Some(account) = &mut self.account {
                    account.count(&message);
                }
                Frame::data(message)
            }
            None => {
                self.ended = true;
                self.close(Code::Ok);
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Frame::trailers(trailers)
            }
        }
    }
}

/// A call that is dropped before its end was given up by its client.
impl Drop for Outgoing {
    fn drop(&mut self) {
        self.close(Code::Cancelled);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(cut) = &mut this.cut
            && let Poll::Ready(status) = cut.as_mut().poll(context)
        {
            this.ended = true;
            this.close(status.code());
            let mut trailers = HeaderMap::new();
            let written = status.add_header(&mut trailers);
            spell_as_go(&mut trailers);
            return Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))));
        }
        let body = match &mut this.payload {
            Payload::Generic(body) => body,
            Payload::Whole(message) => {
                let message = message.take();
                return Poll::Ready(Some(Ok(this.next_of_whole(message))));
            }
        };
        let Some(mut frame) = ready!(Pin::new(body).poll_frame(context)) else {
            this.ended = true;
            return Poll::Ready(None);
        };
        if let Some(trailers) = frame.as_mut().ok().and_then(Frame::trailers_mut) {
            spell_as_go(trailers);
        }
        if let Ok(frame) = &frame {
            if let (Some(data), Some(account)) = (frame.data_ref(), &mut this.account) {
                account.count(data);
            }
            if let Some(code) = frame.trailers_ref().and_then(code_of) {
                this.close(code);
            }
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        match &self.payload {
            Payload::Generic(body) => self.ended || body.is_end_stream(),
            Payload::Whole(_) => self.ended,
        }
    }

    /// Nothing is said of the length of a message: hyper would announce it in a header.
    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Generic(body) => body.size_hint(),
            Payload::Whole(_) => SizeHint::default(),
        }
    }
}

/// Writes the message as grpc-go does, which spells out more characters than tonic.
pub(super) fn spell_as_go(headers: &mut HeaderMap) {
    let Some(message) = headers.get_mut("grpc-message") else { return };
    let bytes = message.as_bytes();
    let mut spelled = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        at += if decoded.is_some() { 3 } else { 1 };
        match decoded.unwrap_or(*byte) {
            plain @ b' '..=b'~' if plain != b'%' => spelled.push(char::from(plain)),
            other => spelled.push_str(&format!("%{other:02X}")),
        }
    }
    if let Ok(value) = HeaderValue::from_str(&spelled) {
        *message = value;
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spelled_as_by_go() {
        for (text, spelled) in [
            ("etcdserver: key is not provided", "etcdserver: key is not provided"),
            ("a \"b\" <c> 100%", "a \"b\" <c> 100%25"),
            ("é\n", "%C3%A9%0A"),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            Status::unknown(text).add_header(&mut headers).unwrap();
            spell_as_go(&mut headers);
            let found = headers.get("grpc-message").map(|value| value.to_str().unwrap());
            assert_eq!(found.unwrap_or_default(), spelled);
        }
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let tally = Arc::new(Tally::new(false));
        let mut account = Account::open(Arc::clone(&tally), 0);
        account.count(b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x04ab");
        account.count(b"c");
        account.count(b"d");
        account.count(b"\0\0\0\0\x01a");
        let sent = &tally.methods()[0].sent;
        assert_eq!((super::super::tally::value(sent), tally.bytes().1), (4, 7));
    }
}

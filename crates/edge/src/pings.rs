//! Clients that ping too often, as grpc-go judges them: the frames of a connection are looked at on
//! their way past, in both directions.
//!
//! Owns:       what is needed of the frames: where they begin, which streams are open.
//! Never:      changes a byte.
//! Invariants: a client that pings no more often than it may is never cut off.
//! Source:     grpc-go 1.82 `internal/transport/http2_server.go` (handlePing).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Length of the head of an HTTP/2 frame.
const HEAD_BYTES: usize = 9;
/// Pings too early that are forgiven.
const STRIKES_MAX: u32 = 2;
/// Time between pings while no stream is open, when there is nothing to keep alive.
const IDLE_MIN_TIME: Duration = Duration::from_secs(2 * 3600);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// `END_STREAM` of data and headers, `ACK` of pings.
const FLAG_ONE: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const DEBUG_DATA: &[u8] = b"too_many_pings";

/// The pings of one connection.
#[derive(Debug)]
pub(crate) struct Pings {
    min_time: Duration,
    inbound: Frames,
    outbound: Frames,
    open: BTreeSet<u32>,
    newest: u32,
    last: Option<Instant>,
    strikes: u32,
    /// Whether something was sent since the last ping: a client may ping once more for it.
    forgiven: bool,
    too_many: bool,
}

impl Pings {
    /// Behind the preface of a connection; `min_time` is `--grpc-keepalive-min-time`.
    pub(crate) fn new(min_time: Duration) -> Self {
        Self {
            min_time,
            inbound: Frames::default(),
            outbound: Frames::default(),
            open: BTreeSet::new(),
            newest: 0,
            last: None,
            strikes: 0,
            forgiven: false,
            too_many: false,
        }
    }

    /// Looks at bytes of the client.
    pub(crate) fn received(&mut self, bytes: &[u8], now: impl Fn() -> Instant) {
        let mut inbound = std::mem::take(&mut self.inbound);
        inbound.push(bytes, |head| match head.kind {
            HEADERS if head.stream > self.newest => {
                self.newest = head.stream;
                self.open.insert(head.stream);
            }
            RST_STREAM => {
                self.open.remove(&head.stream);
            }
            PING if head.flags & FLAG_ONE == 0 => self.judge(now()),
            _ => {}
        });
        self.inbound = inbound;
    }

    /// Looks at bytes for the client.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.push(bytes, |head| {
            self.forgiven |= matches!(head.kind, DATA | HEADERS);
            let ends = matches!(head.kind, DATA | HEADERS) && head.flags & FLAG_ONE != 0;
            if ends || head.kind == RST_STREAM {
                self.open.remove(&head.stream);
            }
        });
        self.outbound = outbound;
    }

    /// Whether the connection is to be closed.
    pub(crate) fn are_too_many(&self) -> bool {
        self.too_many
    }

    /// The last word to such a client; `None` in the middle of another frame.
    pub(crate) fn farewell(&self) -> Option<Vec<u8>> {
        if !self.outbound.is_between() {
            return None;
        }
        let length = 8 + DEBUG_DATA.len();
        let length = u32::try_from(length).unwrap_or(0).to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.newest.to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend_from_slice(DEBUG_DATA);
        Some(frame)
    }

    fn judge(&mut self, now: Instant) {
        let before = self.last.replace(now);
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
            return;
        }
        let min_time = if self.open.is_empty() { IDLE_MIN_TIME } else { self.min_time };
        if before.is_some_and(|before| now.saturating_duration_since(before) < min_time) {
            self.strikes += 1;
        }
        self.too_many |= self.strikes > STRIKES_MAX;
    }
}

/// Finds the heads of frames in pieces of a stream.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes of the payload still to come.
    rest: usize,
}

struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    fn push(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Head)) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let step = self.rest.min(bytes.len());
                self.rest -= step;
                bytes = &bytes[step..];
                continue;
            }
            let step = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == HEAD_BYTES {
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                self.rest = u32::from_be_bytes([0, a, b, c]) as usize;
                self.have = 0;
                seen(Head { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff });
            }
        }
    }

    fn is_between(&self) -> bool {
        self.have == 0 && self.rest == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, stream];
        frame.resize(HEAD_BYTES + payload, 0xff);
        frame
    }

    /// Pings every `seconds`; after how many the client is cut off, of at most ten.
    fn cut_off_after(pings: &mut Pings, seconds: u64) -> Option<u64> {
        let began = Instant::now();
        (1..=10).find(|number| {
            let now = began + Duration::from_secs(number * seconds);
            for byte in frame(PING, 0, 0, 8) {
                pings.received(&[byte], || now);
            }
            pings.are_too_many()
        })
    }

    #[test]
    fn pings_may_come_as_often_as_allowed() {
        let pings = || Pings::new(Duration::from_secs(5));
        // Nothing is open: every ping after the first is one too many, and two are forgiven.
        assert_eq!(cut_off_after(&mut pings(), 6), Some(4));
        assert_eq!(cut_off_after(&mut pings(), 7200), None);
        let mut busy = pings();
        busy.received(&frame(HEADERS, 4, 1, 30), Instant::now);
        assert_eq!(cut_off_after(&mut busy, 5), None);
        assert_eq!(cut_off_after(&mut busy, 4), Some(3));
        // A stream that has ended does not count, whoever ended it.
        let mut ended = pings();
        ended.received(&frame(HEADERS, 4, 1, 30), Instant::now);
        ended.sent(&frame(HEADERS, 5, 1, 30));
        assert_eq!(cut_off_after(&mut ended, 6), Some(4));
        let mut reset = pings();
        reset.received(&frame(HEADERS, 4, 1, 30), Instant::now);
        reset.received(&frame(RST_STREAM, 0, 1, 4), Instant::now);
        assert_eq!(cut_off_after(&mut reset, 6), Some(4));
    }

    #[test]
    fn what_is_sent_and_answers_to_pings_are_no_strikes() {
        let mut pings = Pings::new(Duration::from_secs(5));
        let now = Instant::now();
        for _ in 0..20 {
            pings.received(&frame(PING, 0, 0, 8), || now);
            pings.sent(&frame(DATA, 0, 1, 200));
            pings.received(&frame(PING, FLAG_ONE, 0, 8), || now);
        }
        assert!(!pings.are_too_many());
    }

    #[test]
    fn the_last_word_stands_between_frames() {
        let mut pings = Pings::new(Duration::from_secs(5));
        pings.received(&frame(HEADERS, 4, 7, 3), Instant::now);
        let half = frame(DATA, 0, 1, 20);
        pings.sent(&half[..15]);
        assert_eq!(pings.farewell(), None);
        pings.sent(&half[15..]);
        let expected = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x0btoo_many_pings";
        assert_eq!(pings.farewell().as_deref(), Some(&expected[..]));
    }
}

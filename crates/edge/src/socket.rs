//! The socket of a connection as hyper is given it.
//!
//! Owns:       bytes read before the HTTP version was known; the heads of frames until their payload
//!             comes.
//! Uses:       `authority`, `pings`.
//! Never:      more than [`HELD_MAX_BYTES`] held back; anything held back across a flush.
//! Invariants: bytes leave in the order in which they were written.
//! Source:     design.md 6.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::authority::AuthorityMender;
use crate::connection::{Activity, PREFACE};
use crate::pings::Pings;

/// Bytes read at a time while the authority is being looked at.
const MENDED_READ_BYTES: usize = 4096;
/// Bytes read at a time when only the end of the client is looked for.
const PEEK_BYTES: usize = 512;
/// A write larger than this is handed to the system at once, together with what is held.
const HELD_WRITE_BYTES: usize = 4096;
/// Bytes held back until a flush or a large write; above this they are written at once.
const HELD_MAX_BYTES: usize = 16 * 1024;

/// One socket, for hyper and for whoever wants to know whether the client is still there. The lock
/// is never contended: all of them are polled by the task of the connection.
pub(crate) struct Socket<S> {
    inner: Arc<Mutex<Replayed<S>>>,
}

impl<S> Socket<S> {
    /// `first` was read already, and mended.
    pub(crate) fn new(
        first: Vec<u8>,
        stream: S,
        ping_min_time: Duration,
        activity: Arc<Activity>,
    ) -> Self {
        let replayed = Replayed::new(first, stream, ping_min_time, activity);
        Self { inner: Arc::new(Mutex::new(replayed)) }
    }

    fn lock(&self) -> MutexGuard<'_, Replayed<S>> {
        lock(&self.inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket<S> {
    /// The client's side of the socket.
    pub(crate) fn line(&self) -> Line {
        Line(Arc::clone(&self.inner) as Arc<dyn Client>)
    }
}

fn lock<S>(inner: &Mutex<Replayed<S>>) -> MutexGuard<'_, Replayed<S>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells whether the client of an HTTP/1.1 connection is still there, while hyper does not read.
#[derive(Clone)]
pub(crate) struct Line(Arc<dyn Client>);

impl Line {
    /// Ready once the client has closed its side. A client that has sent its next request already is
    /// taken to be there.
    pub(crate) fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_left(context)
    }
}

trait Client: Send + Sync {
    fn poll_left(&self, context: &mut Context<'_>) -> Poll<()>;
}

impl<S: AsyncRead + Unpin + Send> Client for Mutex<Replayed<S>> {
    fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        lock(self).poll_left(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_shutdown(context)
    }

    /// h2 then copies small frames into one buffer, which saves a system call per reply.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

/// A stream with bytes that were read from it put back in front. Until an HTTP/2 client's authority
/// is known to be good, its bytes pass through the mender. Small writes are held until they are
/// flushed or a large one follows: h2 writes the head of a large frame and its payload one by one.
struct Replayed<S> {
    ready: Vec<u8>,
    at: usize,
    mender: Option<AuthorityMender>,
    /// Of an HTTP/2 connection.
    pings: Option<Pings>,
    activity: Arc<Activity>,
    held: Vec<u8>,
    stream: S,
}

impl<S> Replayed<S> {
    fn new(first: Vec<u8>, stream: S, ping_min_time: Duration, activity: Arc<Activity>) -> Self {
        let is_http2 = first == PREFACE;
        let mender = is_http2.then(AuthorityMender::new);
        let pings = is_http2.then(|| Pings::new(ping_min_time));
        Self { ready: first, at: 0, mender, pings, activity, held: Vec::new(), stream }
    }

    fn received(&mut self, bytes: &[u8]) {
        if let Some(pings) = &mut self.pings {
            pings.received(bytes, Instant::now);
        }
    }

    fn took(&mut self, bytes: &[u8]) {
        if let Some(pings) = &mut self.pings {
            pings.sent(bytes);
        }
    }
}

impl<S: AsyncWrite + Unpin> Replayed<S> {
    /// Whether the client has pinged too often: it is told, if that can be done at once, and for
    /// hyper the connection is at its end.
    fn cut_off(&mut self, context: &mut Context<'_>) -> bool {
        let Some(pings) = self.pings.as_ref().filter(|pings| pings.are_too_many()) else {
            return false;
        };
        if let Some(farewell) = pings.farewell() {
            tracing::debug!("client pinged too often");
            self.held.extend_from_slice(&farewell);
            let told = Pin::new(&mut self.stream).poll_write(context, &self.held);
            self.held.clear();
            drop(told);
        }
        true
    }

    fn poll_write(&mut self, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.len() <= HELD_WRITE_BYTES && self.held.len() + buf.len() <= HELD_MAX_BYTES {
            self.held.extend_from_slice(buf);
            self.took(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            let held = self.held.len();
            let slices = [IoSlice::new(&self.held), IoSlice::new(buf)];
            let stream = Pin::new(&mut self.stream);
            let written = if held > 0 && stream.is_write_vectored() {
                ready!(stream.poll_write_vectored(context, &slices))?
            } else {
                let first = if held > 0 { &self.held } else { buf };
                ready!(stream.poll_write(context, first))?
            };
            self.activity.wrote(written);
            self.held.drain(..written.min(held));
            if written > held {
                self.took(&buf[..written - held]);
                return Poll::Ready(Ok(written - held));
            }
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.activity.wrote(written);
            self.held.drain(..written);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> Replayed<S> {
    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.at < self.ready.len() {
            return Poll::Pending;
        }
        let mut bytes = [0; PEEK_BYTES];
        let mut inner = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut self.stream).poll_read(context, &mut inner)) {
            Ok(()) if !inner.filled().is_empty() => {
                self.ready.clear();
                self.ready.extend_from_slice(inner.filled());
                self.at = 0;
                Poll::Pending
            }
            Ok(()) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Replayed<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_off(context) {
            return Poll::Ready(Ok(()));
        }
        loop {
            let rest = &self.ready[self.at..];
            if !rest.is_empty() {
                let count = rest.len().min(buf.remaining());
                buf.put_slice(&rest[..count]);
                self.at += count;
                return Poll::Ready(Ok(()));
            }
            let Some(mender) = self.mender.as_mut().filter(|mender| !mender.is_done()) else {
                self.mender = None;
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.stream).poll_read(context, buf))?;
                self.received(&buf.filled()[before..]);
                return Poll::Ready(Ok(()));
            };
            let mut bytes = [0; MENDED_READ_BYTES];
            let mut inner = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut inner))?;
            if inner.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ready.clear();
            self.at = 0;
            mender.push(inner.filled(), &mut self.ready);
            self.received(inner.filled());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn socket(first: &[u8]) -> (Socket<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let socket = Socket::new(first.to_vec(), ours, Duration::ZERO, Arc::default());
        (socket, theirs)
    }

    #[tokio::test]
    async fn bytes_leave_in_order_however_they_are_cut() {
        for sizes in [&[9, 16_000, 9, 5000][..], &[4096, 4096, 4096, 4096, 1], &[5000], &[1, 2, 3]]
        {
            let (mut socket, mut theirs) = socket(b"");
            let (mut next, mut expected) = (0_u8, Vec::new());
            for size in sizes {
                let bytes: Vec<u8> = (0..*size)
                    .map(|_| {
                        next = next.wrapping_add(7);
                        next
                    })
                    .collect();
                socket.write_all(&bytes).await.unwrap();
                expected.extend_from_slice(&bytes);
            }
            socket.flush().await.unwrap();
            let mut got = vec![0; expected.len()];
            theirs.read_exact(&mut got).await.unwrap();
            assert!(got == expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_and_what_it_says_is_kept() {
        let (mut socket, mut theirs) = socket(b"GET");
        let line = socket.line();
        let left = |context: &mut Context<'_>| Poll::Ready(line.poll_left(context).is_ready());
        assert!(!std::future::poll_fn(left).await, "unread bytes");
        let mut bytes = [0; 8];
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 3);
        theirs.write_all(b"next").await.unwrap();
        assert!(!std::future::poll_fn(left).await, "it speaks");
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 4);
        assert_eq!(&bytes[..4], b"next");
        drop(theirs);
        std::future::poll_fn(|context| line.poll_left(context)).await;
    }
}

//! One accepted connection: HTTP version by its first bytes, time-outs, hyper underneath.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;

use crate::router::Router;
use crate::socket::Socket;
use crate::target;

/// What opens an HTTP/2 connection without TLS.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// HTTP/2 connection window, bytes: large enough that one slow stream does not stop the others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes read at a time of a first HTTP/1.1 head.
const HEAD_READ_BYTES: usize = 1024;
/// A first head longer than this is handed on unfinished.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Time for which a client may take nothing of its answers once the server stops.
const STALL_AT_STOP: Duration = Duration::from_secs(1);

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the first bytes: the HTTP/2 preface, or the first HTTP/1.1 head.
    pub first_bytes: Duration,
    /// Time for each later HTTP/1.1 head, the idle time before it included.
    pub idle: Duration,
    /// Streams at one time, `--max-concurrent-streams`.
    pub streams: u32,
    /// Time between two pings of a client, `--grpc-keepalive-min-time`.
    pub ping_min_time: Duration,
    /// Time without a word of the client after which it is pinged, `--grpc-keepalive-interval`.
    pub ping_interval: Duration,
    /// Time for the answer, `--grpc-keepalive-timeout`.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            streams: u32::MAX,
            ping_min_time: Duration::from_secs(5),
            ping_interval: Duration::from_secs(2 * 3600),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// Serves a connection until it ends or `stop` turns true; then requests under way are finished, but
/// not for a client that has stopped reading.
pub async fn serve_connection<S>(
    mut stream: S,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = tokio::select! {
        first = tokio::time::timeout(limits.first_bytes, first_bytes(&mut stream)) => first,
        () = told_to_stop(&mut stop) => return,
    };
    let Ok(Ok(first)) = first else { return };
    let activity = Arc::<Activity>::default();
    let pings = limits.ping_min_time;
    let socket = Socket::new(target::mend(first), stream, pings, Arc::clone(&activity));
    let (answering, line) = (Arc::clone(&activity), socket.line());
    let service = service_fn(move |mut request: Request<Incoming>| {
        if request.version() != Version::HTTP_2 {
            request.extensions_mut().insert(line.clone());
        }
        let (router, request_under_way) = (router.clone(), UnderWay::begin(&answering));
        // Boxed: hyper and tokio move the future of each HTTP/2 request half a dozen times.
        Box::pin(async move {
            let _request_under_way = request_under_way;
            Ok::<_, Infallible>(router.answer(request).await)
        })
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // A client that has sent its request and closed its side still wants the answer. Only a
        // watch ends with its client, and looks for itself whether that is there (`socket::Line`).
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => log_end(ended),
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => log_end(ended),
                () = activity.stalled() => tracing::debug!("client reads nothing, cut off at the stop"),
            }
        }
    }
}

/// What a connection is doing.
#[derive(Default)]
pub(crate) struct Activity {
    /// Requests whose answer has not begun.
    under_way: AtomicUsize,
    written_bytes: AtomicU64,
}

impl Activity {
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until no request waits for its answer and nothing of those that have begun is taken.
    async fn stalled(&self) {
        let state = || {
            let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
            (is_idle, self.written_bytes.load(Ordering::Relaxed))
        };
        loop {
            let before = state();
            tokio::time::sleep(STALL_AT_STOP).await;
            if before.0 && before == state() {
                return;
            }
        }
    }
}

/// A request whose answer has not begun.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the order, or for whoever could give it to be gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await.is_ok();
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "client connection ended");
    }
}

/// Reads until the HTTP version is certain and, for HTTP/1.1, the first head is whole: what is sent
/// by halves would otherwise be held for ever.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    loop {
        let room = match PREFACE.len().checked_sub(first.len()) {
            Some(room) if PREFACE.starts_with(&first) => room,
            _ => HEAD_READ_BYTES,
        };
        if room == 0 || (room == HEAD_READ_BYTES && head_is_whole(&first)) {
            return Ok(first);
        }
        let before = first.len();
        first.resize(before + room, 0);
        let got = stream.read(&mut first[before..]).await?;
        first.truncate(before + got);
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Whether a first head can be left to hyper, which also refuses one that is too long.
fn head_is_whole(bytes: &[u8]) -> bool {
    bytes.len() >= HEAD_MAX_BYTES || bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
        first_bytes(&mut &*bytes).await
    }

    #[tokio::test]
    async fn reads_no_further_than_needed_to_tell_the_version() {
        assert_eq!(first_of(b"GET / HTTP/1.1\r\n\r\n").await.unwrap().len(), 18);
        assert_eq!(first_of(b"P / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap().len(), 25);
        assert!(first_of(b"GET / HTTP/1.1\r\nHost").await.is_err());
        let mut whole = PREFACE.to_vec();
        whole.extend_from_slice(b"frames");
        assert_eq!(first_of(&whole).await.unwrap(), PREFACE);
        assert!(first_of(&PREFACE[..10]).await.is_err());
    }

    #[tokio::test]
    async fn only_a_client_that_takes_nothing_is_cut_off_at_a_stop() {
        let activity = Arc::<Activity>::default();
        let limit = 3 * STALL_AT_STOP;
        let request = UnderWay::begin(&activity);
        assert!(tokio::time::timeout(limit, activity.stalled()).await.is_err(), "it waits");
        drop(request);
        let reading = async {
            let mut ticks = tokio::time::interval(STALL_AT_STOP / 10);
            loop {
                ticks.tick().await;
                activity.written_bytes.fetch_add(1, Ordering::Relaxed);
            }
        };
        let read_on = async {
            tokio::select! {
                () = reading => {}
                () = activity.stalled() => {}
            }
        };
        assert!(tokio::time::timeout(limit, read_on).await.is_err(), "it reads");
        assert!(tokio::time::timeout(limit, activity.stalled()).await.is_ok());
    }
}

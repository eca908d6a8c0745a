//! The peer listener: connections, their deadlines, and the table of paths.
//!
//! Owns:       accepted connections.
//! Uses:       the handlers below it.
//! Never:      knows what a message means.
//! Invariants: at most [`limits::CONNECTIONS_MAX`] connections; one that sends no request head
//!             within [`limits::IO_TIMEOUT`], or takes no bytes for as long, is closed.
//! Source:     peer-protocol.md 1, 2.

mod raft;
mod reply;
mod requests;
mod snapshot;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::dial::{BoxedIo, tune};
use crate::limits;
use crate::timed_io::TimedIo;
use crate::transport::Transport;

/// A bound socket that peers connect to.
#[derive(Debug)]
pub enum PeerListener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for PeerListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for PeerListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl PeerListener {
    async fn accept(&self) -> io::Result<BoxedIo> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _address) = listener.accept().await?;
                // Fails when the caller is gone already, which the first read shows too.
                if let Err(error) = tune(&stream) {
                    tracing::debug!(%error, "set options of an accepted connection");
                }
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => {
                let (stream, _address) = listener.accept().await?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// Serves until `shutdown` is ready; open connections are then dropped.
pub(crate) async fn serve(
    transport: Transport,
    listener: PeerListener,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((place, io)) = accepted else { continue };
        let transport = transport.clone();
        connections.spawn(async move {
            serve_connection(transport, io).await;
            drop(place);
        });
    }
}

/// Waits for a place and for a connection. Cancelling it loses neither.
async fn accept(
    listener: &PeerListener,
    places: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, BoxedIo)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok(io) => Some((place, io)),
        Err(error) => {
            // Of one connection, or of the process (out of files): others may still be served.
            tracing::warn!(%error, "accept peer connection");
            tokio::time::sleep(limits::ACCEPT_RETRY).await;
            None
        }
    }
}

/// Serves one connection, whoever accepted it (a TLS listener for example).
pub(crate) async fn serve_connection<T>(transport: Transport, io: T)
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let transport = transport.clone();
        async move { Ok::<_, Infallible>(requests::answer(transport, request).await) }
    });
    let ended = http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(limits::IO_TIMEOUT)
        .serve_connection(TokioIo::new(TimedIo::new(io, limits::IO_TIMEOUT)), service)
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "peer connection ended");
    }
}

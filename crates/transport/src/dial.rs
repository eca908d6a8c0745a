//! Outgoing connections: peer URLs, the connector behind which TLS will sit, one HTTP/1.1 client
//! connection.
//!
//! Owns:       connections it has opened, and the task that drives each.
//! Uses:       `tokio`, `hyper`.
//! Never:      follows a redirect, pools, or retries.
//! Invariants: dropping a [`Connection`] closes its socket.
//! Source:     peer-protocol.md 1.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::api::BoxFuture;
use crate::limits;
use crate::timed_io::TimedIo;

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection of any kind.
pub type BoxedIo = Box<dyn Io>;

/// Makes connections; a TLS connector implements this and answers `https` and `unixs` too.
pub trait Connector: Send + Sync {
    /// Connects to where `url` points.
    fn connect<'a>(&'a self, url: &'a PeerUrl) -> BoxFuture<'a, io::Result<BoxedIo>>;
}

/// Connects `http` and `unix` URLs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConnector;

impl Connector for PlainConnector {
    fn connect<'a>(&'a self, url: &'a PeerUrl) -> BoxFuture<'a, io::Result<BoxedIo>> {
        Box::pin(async move {
            match url.scheme {
                Scheme::Http => {
                    let stream = TcpStream::connect(url.socket_address()).await?;
                    tune(&stream)?;
                    Ok(Box::new(stream) as BoxedIo)
                }
                Scheme::Unix => Ok(Box::new(UnixStream::connect(&url.address).await?) as BoxedIo),
                Scheme::Https | Scheme::Unixs => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("no TLS for peer URL {url}"),
                )),
            }
        })
    }
}

/// Sets what every peer connection has.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limits::TCP_KEEPALIVE)
        .with_interval(limits::TCP_KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// How a peer URL is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP.
    Http,
    /// TCP and TLS.
    Https,
    /// A unix socket; the rest of the URL is its path.
    Unix,
    /// A unix socket and TLS.
    Unixs,
}

/// A parsed peer URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl {
    scheme: Scheme,
    address: String,
}

impl PeerUrl {
    /// Parses `scheme://address`; `None` when it is not a peer URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return None,
        };
        let address = match scheme {
            Scheme::Http | Scheme::Https => rest.trim_end_matches('/'),
            Scheme::Unix | Scheme::Unixs => rest,
        };
        let unix = matches!(scheme, Scheme::Unix | Scheme::Unixs);
        let printable = address.bytes().all(|byte| byte.is_ascii_graphic());
        let plain_host = !address.contains(['/', '?', '#', '@']);
        (!address.is_empty() && printable && (unix || plain_host))
            .then(|| Self { scheme, address: address.to_owned() })
    }

    /// How it is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host:port`, or the path of a unix socket.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `host:port`, with the scheme's port where the URL has none.
    fn socket_address(&self) -> String {
        let behind_bracket = self.address.rsplit(']').next().unwrap_or_default();
        if behind_bracket.contains(':') {
            return self.address.clone();
        }
        let port = if self.scheme == Scheme::Https { 443 } else { 80 };
        format!("{}:{port}", self.address)
    }

    /// Value of the `Host` header.
    pub(crate) fn host_header(&self) -> HeaderValue {
        let text = match self.scheme {
            Scheme::Http | Scheme::Https => self.address.as_str(),
            Scheme::Unix | Scheme::Unixs => "localhost",
        };
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("localhost"))
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Body of a request.
pub(crate) type OutBody = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is known whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> OutBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connect to peer")]
    Connect(#[source] io::Error),
    #[error("peer did not answer within {0:?}")]
    Timeout(Duration),
    #[error("exchange with peer")]
    Http(#[from] hyper::Error),
}

/// Stops a task when dropped.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One client connection, for one request at a time.
pub(crate) struct Connection {
    sender: SendRequest<OutBody>,
    host: HeaderValue,
    _driver: AbortOnDrop,
}

impl Connection {
    /// Connects within `timeout`; a write that stands still for `stall` breaks the connection.
    pub(crate) async fn open(
        connector: &Arc<dyn Connector>,
        url: &PeerUrl,
        timeout: Duration,
        stall: Duration,
    ) -> Result<Self, DialError> {
        let io = tokio::time::timeout(timeout, connector.connect(url))
            .await
            .map_err(|_elapsed| DialError::Timeout(timeout))?
            .map_err(DialError::Connect)?;
        let io = TokioIo::new(TimedIo::new(io, stall));
        let (sender, connection) =
            Builder::new().title_case_headers(true).handshake::<_, OutBody>(io).await?;
        // How the connection ended is also the result of the request on it.
        let driver = tokio::spawn(async move {
            let _ended = connection.await;
        });
        Ok(Self { sender, host: url.host_header(), _driver: AbortOnDrop(driver) })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<OutBody>,
    ) -> Result<Response<Incoming>, DialError> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// As [`Connection::send`], with a limit in time.
    pub(crate) async fn send_within(
        &mut self,
        request: Request<OutBody>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, DialError> {
        tokio::time::timeout(timeout, self.send(request))
            .await
            .map_err(|_elapsed| DialError::Timeout(timeout))?
    }
}

/// Reads up to `limit` bytes of a body, each piece within [`limits::IO_TIMEOUT`]; `None` when it is
/// longer, broken or silent.
pub(crate) async fn read_up_to(mut body: Incoming, limit: usize) -> Option<Bytes> {
    let mut read = Vec::new();
    loop {
        let frame = tokio::time::timeout(limits::IO_TIMEOUT, body.frame()).await.ok()?;
        let Some(frame) = frame else { return Some(read.into()) };
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if read.len() + data.len() > limit {
            return None;
        }
        read.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_forms() {
        for (text, printed, socket) in [
            ("http://127.0.0.1:2380", "http://127.0.0.1:2380", "127.0.0.1:2380"),
            ("http://127.0.0.1:2380/", "http://127.0.0.1:2380", "127.0.0.1:2380"),
            ("http://[::1]:2380", "http://[::1]:2380", "[::1]:2380"),
            ("http://[::1]", "http://[::1]", "[::1]:80"),
            ("https://host", "https://host", "host:443"),
        ] {
            let url = PeerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), printed);
            assert_eq!(url.socket_address(), socket);
        }
        let unix = PeerUrl::parse("unix:///tmp/a/b").unwrap();
        assert_eq!((unix.scheme(), unix.address()), (Scheme::Unix, "/tmp/a/b"));
        for bad in ["", "http://", "ftp://a:1", "127.0.0.1:1", "http://a b:1", "http://a:1/x"] {
            assert_eq!(PeerUrl::parse(bad), None, "{bad:?}");
        }
    }
}

//! Binding of listen URLs.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixListener;

use config::EndpointUrl;

use crate::error::StartError;

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: u32 = 1024;

/// A bound socket, not yet tied to a runtime.
pub(crate) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Binds one URL; the accept loop decides where its connections go.
pub(crate) fn bind(url: &EndpointUrl) -> Result<Bound, StartError> {
    let network = if url.scheme().is_unix() { "unix" } else { "tcp" };
    let failed = |error| StartError::Listen { network, address: url.address().to_owned(), error };
    if url.scheme().is_unix() {
        return bind_unix(url.socket_path()).map(Bound::Unix).map_err(failed);
    }
    let address = resolve(url).map_err(failed)?;
    bind_tcp(address).map(Bound::Tcp).map_err(failed)
}

fn resolve(url: &EndpointUrl) -> io::Result<SocketAddr> {
    let mut found: Vec<SocketAddr> = (url.host(), url.port()).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// `SO_REUSEADDR` as Go sets it: a restart need not wait for old connections to be forgotten, a
/// second listener is still refused.
fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A socket file left behind by a process that is gone is replaced; one in use is not.
fn bind_unix(path: &str) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

impl Bound {
    /// The socket for the peer transport.
    pub(crate) fn into_peer_listener(self) -> io::Result<transport::PeerListener> {
        Ok(match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                transport::PeerListener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                transport::PeerListener::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }
}

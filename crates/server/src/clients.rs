//! Client connections, spread over single-threaded runtimes (design.md 6).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edge::{Limits, Router, serve_connection};
use node::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::listeners::Bound;

/// Connections waiting for their runtime to take them.
const HANDOVER_MAX: usize = 1024;
/// File descriptors kept back from client connections, as in etcd.
const RESERVED_DESCRIPTORS: u64 = 150;
/// Pause after accept failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Keep-alive period of TCP connections, as of etcd's client listeners. Nothing is ever written to a
/// long-poll that waits, so this alone finds out that its client is gone without a word.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The runtimes that serve clients.
pub(crate) struct Clients {
    lanes: Vec<mpsc::Sender<Accepted>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    open: Arc<AtomicUsize>,
    limit: usize,
    stop: watch::Sender<bool>,
}

impl Clients {
    /// Starts a thread with a runtime of its own for each core.
    pub(crate) fn start(handle: &Handle, router: &Router, limits: Limits) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut clients =
            Self { lanes: Vec::new(), threads: Vec::new(), open, limit: connection_limit(), stop };
        for core in 0..cores {
            let (lane, connections) = mpsc::channel(HANDOVER_MAX);
            let serving = Serving {
                handle: handle.clone(),
                router: router.clone(),
                limits,
                stopped: stopped.clone(),
                open: Arc::clone(&clients.open),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || runtime.block_on(serving.run(connections));
            let name = format!("client-{core}");
            clients.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
            clients.lanes.push(lane);
        }
        Ok(clients)
    }

    /// Accepts from a listener until the clients are stopped; runs on the caller's runtime.
    pub(crate) fn accept(&self, bound: Bound) -> io::Result<impl Future<Output = ()> + use<>> {
        let listener = Listener::new(bound)?;
        let lanes = self.lanes.clone();
        let mut stopped = self.stop.subscribe();
        let (open, limit) = (Arc::clone(&self.open), self.limit);
        Ok(async move {
            let mut turn = 0_usize;
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = told_to_stop(&mut stopped) => return,
                };
                match accepted {
                    Ok(connection) if open.load(Ordering::Relaxed) < limit => {
                        open.fetch_add(1, Ordering::Relaxed);
                        turn = (turn + 1) % lanes.len();
                        if lanes[turn].send(connection).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => tracing::warn!(limit, "too many client connections, refused one"),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a client connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }

    /// Ends all connections: requests under way get up to `grace`.
    pub(crate) async fn stop(self, grace: Duration) {
        self.stop.send_replace(true);
        drop(self.lanes);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                drop(thread.join());
            }
        });
        if tokio::time::timeout(grace, joined).await.is_err() {
            tracing::warn!("client connections were cut off at the end of their grace");
        }
    }
}

struct Serving {
    handle: Handle,
    router: Router,
    limits: Limits,
    stopped: watch::Receiver<bool>,
    open: Arc<AtomicUsize>,
}

impl Serving {
    async fn run(self, mut connections: mpsc::Receiver<Accepted>) {
        // Ends with the runtime: requests under way at the end still go over it.
        drop(tokio::spawn(self.handle.desk()));
        let mut served = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                connection = connections.recv() => match connection {
                    Some(connection) => { served.spawn(self.serve(connection)); }
                    None => break,
                },
                Some(_) = served.join_next(), if !served.is_empty() => {}
                () = told_to_stop(&mut stopped) => break,
            }
        }
        while served.join_next().await.is_some() {}
    }

    fn serve(&self, connection: Accepted) -> impl Future<Output = ()> + use<> {
        let (router, limits) = (self.router.clone(), self.limits);
        let stopped = self.stopped.clone();
        let open = Arc::clone(&self.open);
        async move {
            match connection {
                Accepted::Tcp(stream) => {
                    let router = router.for_client(stream.peer_addr().ok());
                    let ready = tune(&stream);
                    if let Ok(stream) = ready.and_then(|()| tokio::net::TcpStream::from_std(stream))
                    {
                        serve_connection(stream, router, limits, stopped).await;
                    }
                }
                Accepted::Unix(stream) => {
                    let ready = stream
                        .set_nonblocking(true)
                        .and_then(|()| tokio::net::UnixStream::from_std(stream));
                    if let Ok(stream) = ready {
                        serve_connection(stream, router, limits, stopped).await;
                    }
                }
            }
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Sets what every TCP connection of a client has.
fn tune(stream: &std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Ok(Accepted::Tcp(listener.accept().await?.0.into_std()?)),
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0.into_std()?)),
        }
    }
}

/// Waits for the order, or for whoever could give it to be gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await.is_ok();
}

/// Client connections at one time: what the system allows, less a reserve for files and peers.
fn connection_limit() -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let descriptors = limit.map_or(1024, |(soft, _)| soft);
    usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;

//! Calls to other members that are made again and again, over connections that are kept a while.
//!
//! Owns:       idle connections.
//! Uses:       `dial`, the shapes of `client`.
//! Never:      raft messages.
//! Invariants: at most [`limits::POOL_CALLS_MAX`] calls are under way and
//!             [`limits::POOL_KEPT_MAX`] connections idle; a connection serves one call at a time.
//! Source:     peer-protocol.md 1 and 2.5.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Uri};
use tokio::sync::Semaphore;

use crate::client::{Answer, Call, ClientError, with_causes};
use crate::dial::{Connection, Connector, DialError, PeerUrl, full, read_up_to};
use crate::limits;

struct Kept {
    connection: Connection,
    url: PeerUrl,
    used: Instant,
}

/// Makes calls that may be made twice: on a kept connection that turns out to be closed a call is
/// tried again on a new one, and the peer may have heard it already.
pub struct CallPool {
    connector: Arc<dyn Connector>,
    kept: Mutex<Vec<Kept>>,
    slots: Semaphore,
}

impl CallPool {
    /// A pool whose connections come from `connector`.
    #[must_use]
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        let slots = Semaphore::new(limits::POOL_CALLS_MAX);
        Self { connector, kept: Mutex::default(), slots }
    }

    /// Makes one call to one URL.
    ///
    /// # Errors
    /// When no whole answer arrives in time; any status is an answer.
    pub async fn call(
        &self,
        url: &str,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let peer =
            PeerUrl::parse(url).ok_or_else(|| ClientError::BadUrl { url: url.to_owned() })?;
        let exchanged = tokio::time::timeout(timeout, self.exchange(&peer, call, timeout)).await;
        let reason = match exchanged {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(reason)) => reason,
            Err(_elapsed) => format!("no answer within {timeout:?}"),
        };
        Err(ClientError::Unreachable { url: url.to_owned(), reason })
    }

    async fn exchange(
        &self,
        url: &PeerUrl,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let _slot = self.slots.acquire().await.map_err(|error| error.to_string())?;
        if let Some(kept) = self.take(url)
            && let Ok(answer) = self.exchange_on(kept, url, call).await
        {
            return Ok(answer);
        }
        let opened = Connection::open(&self.connector, url, timeout, limits::IO_TIMEOUT).await;
        let connection = opened.map_err(|error| with_causes(&error))?;
        self.exchange_on(connection, url, call).await
    }

    async fn exchange_on(
        &self,
        mut connection: Connection,
        url: &PeerUrl,
        call: &Call,
    ) -> Result<Answer, String> {
        let mut request = Request::new(full(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.path.parse::<Uri>().map_err(|error| error.to_string())?;
        *request.headers_mut() = call.headers.clone();
        let sent: Result<_, DialError> = connection.send(request).await;
        let (head, body) = sent.map_err(|error| with_causes(&error))?.into_parts();
        let body = read_up_to(body, limits::FORWARD_ANSWER_BYTES_MAX).await;
        let body = body.ok_or_else(|| "answer is too long or cut short".to_owned())?;
        self.keep(Kept { connection, url: url.clone(), used: Instant::now() });
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// The connection to `url` that was used last, if it is fresh enough to be open at the other
    /// end; those that are not are closed.
    fn take(&self, url: &PeerUrl) -> Option<Connection> {
        let mut kept = self.lock();
        kept.retain(|one| one.used.elapsed() < limits::PIPELINE_IDLE_MAX);
        let place = kept.iter().rposition(|one| one.url == *url)?;
        Some(kept.remove(place).connection)
    }

    fn keep(&self, one: Kept) {
        let mut kept = self.lock();
        if kept.len() < limits::POOL_KEPT_MAX {
            kept.push(one);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

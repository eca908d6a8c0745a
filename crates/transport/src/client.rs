//! Single requests to other members, for joining, the version monitor and forwarding.
//!
//! Owns:       nothing beyond a call; every call has its own connection.
//! Uses:       `dial`.
//! Never:      raft messages.
//! Invariants: a call ends within its timeout; an answer has at most
//!             [`limits::CLIENT_BODY_BYTES_MAX`].
//! Source:     peer-protocol.md 2, 12.3, 13.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use membership::Member;
use serde::Deserialize;
use types::ClusterId;

use crate::dial::{Connection, Connector, PeerUrl, PlainConnector, full, read_up_to};
use crate::{headers, limits};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a peer URL.
    #[error("{url:?} is not a peer URL")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// No connection, or it broke: another URL may work.
    #[error("request to {url}: {reason}")]
    Unreachable {
        /// Where to.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is not the one expected.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// Where from.
        url: String,
        /// Its status.
        status: StatusCode,
        /// The beginning of its body.
        text: String,
    },
    /// An answer that cannot be read.
    #[error("answer of {url} cannot be read: {reason}")]
    Malformed {
        /// Where from.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// There was no URL to ask.
    #[error("no peer URL to ask")]
    NoUrl,
}

/// A request besides its URL.
#[derive(Clone, Debug)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path, such as `/leases`.
    pub path: String,
    /// Headers besides host and length.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Call {
    /// A GET without headers.
    #[must_use]
    pub fn get(path: &str) -> Self {
        let (path, headers, body) = (path.to_owned(), HeaderMap::new(), Bytes::new());
        Self { method: Method::GET, path, headers, body }
    }
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Versions that a member reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerVersions {
    /// Of its program, e.g. `3.5.12`.
    pub etcdserver: String,
    /// Of its cluster; `not_decided` when it does not know.
    pub etcdcluster: String,
    /// Of its database, from 3.6 on; may be `unknown`.
    #[serde(default)]
    pub storage: Option<String>,
}

/// Makes calls over connections of one kind.
#[derive(Clone)]
pub struct Client {
    connector: Arc<dyn Connector>,
}

impl Default for Client {
    fn default() -> Self {
        Self { connector: Arc::new(PlainConnector) }
    }
}

impl Client {
    /// A client whose connections come from `connector`.
    #[must_use]
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connector }
    }

    /// Makes one call to one URL.
    ///
    /// # Errors
    /// When no whole answer arrives in time; any status is an answer.
    pub async fn call(
        &self,
        url: &str,
        call: Call,
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
        call: Call,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let opened = Connection::open(&self.connector, url, timeout, limits::IO_TIMEOUT).await;
        let mut connection = opened.map_err(|error| with_causes(&error))?;
        let mut request = Request::new(full(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = call.path.parse::<Uri>().map_err(|error| error.to_string())?;
        *request.headers_mut() = call.headers;
        let response = connection.send(request).await.map_err(|error| with_causes(&error))?;
        let (head, body) = response.into_parts();
        let body = read_up_to(body, limits::CLIENT_BODY_BYTES_MAX).await;
        let body = body.ok_or_else(|| "answer is too long or cut short".to_owned())?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Members and cluster ID as the first of `urls` says that answers properly.
    ///
    /// # Errors
    /// The last URL's, when none does.
    pub async fn get_members(
        &self,
        urls: &[String],
        timeout: Duration,
    ) -> Result<(ClusterId, Vec<Member>), ClientError> {
        let mut last = ClientError::NoUrl;
        for url in urls {
            match self.members_of(url, timeout).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn members_of(
        &self,
        url: &str,
        timeout: Duration,
    ) -> Result<(ClusterId, Vec<Member>), ClientError> {
        let answer = self.ok(url, "/members", timeout).await?;
        let id = headers::parse_id(&headers::text(&answer.headers, &headers::CLUSTER_ID));
        let id = id.ok_or_else(|| malformed(url, &"no cluster ID"))?;
        let members = membership::json::members_from_json(&answer.body);
        Ok((ClusterId(id.0), members.map_err(|error| malformed(url, &with_causes(&error)))?))
    }

    /// Versions as the first of one member's `urls` says that answers properly.
    ///
    /// # Errors
    /// The last URL's, when none does.
    pub async fn get_version(
        &self,
        urls: &[String],
        timeout: Duration,
    ) -> Result<ServerVersions, ClientError> {
        let mut last = ClientError::NoUrl;
        for url in urls {
            let answer = self.ok(url, "/version", timeout).await;
            let parsed = answer.and_then(|answer| {
                serde_json::from_slice(&answer.body).map_err(|error| malformed(url, &error))
            });
            match parsed {
                Ok(versions) => return Ok(versions),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A GET that must be answered with 200.
    async fn ok(&self, url: &str, path: &str, timeout: Duration) -> Result<Answer, ClientError> {
        let answer = self.call(url, Call::get(path), timeout).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let text: String =
            String::from_utf8_lossy(&answer.body).trim_end().chars().take(200).collect();
        Err(ClientError::Refused { url: url.to_owned(), status: answer.status, text })
    }
}

/// [`Client::get_members`] over plain connections.
///
/// # Errors
/// As there.
pub async fn get_members(
    urls: &[String],
    timeout: Duration,
) -> Result<(ClusterId, Vec<Member>), ClientError> {
    Client::default().get_members(urls, timeout).await
}

/// [`Client::get_version`] over plain connections.
///
/// # Errors
/// As there.
pub async fn get_version(
    urls: &[String],
    timeout: Duration,
) -> Result<ServerVersions, ClientError> {
    Client::default().get_version(urls, timeout).await
}

fn malformed(url: &str, reason: &dyn ToString) -> ClientError {
    ClientError::Malformed { url: url.to_owned(), reason: reason.to_string() }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

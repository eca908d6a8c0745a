//! URLs as etcd's flags take them: scheme, host and port, or a socket path, and nothing else.
//!
//! Owns:       parsing, spelling and order of endpoint URLs.
//! Never:      resolution of names; normalization (the text goes into member IDs byte by byte).
//! Source:     reference/server-config.md 6 "URLs"; texts of Go's net/url seen on 3.5.1.

use std::fmt;
use std::net::IpAddr;

/// Scheme of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// Plain unix socket.
    Unix,
    /// TLS over a unix socket.
    Unixs,
}

impl Scheme {
    /// Returns the scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
        }
    }

    /// Reports whether traffic is encrypted.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Unixs)
    }

    /// Reports whether the endpoint is a unix socket.
    #[must_use]
    pub fn is_unix(self) -> bool {
        matches!(self, Self::Unix | Self::Unixs)
    }
}

/// One endpoint. Ordered by its text, as etcd sorts URL lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointUrl {
    // First field, so that the derived order is the order of texts.
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
    socket_path: String,
}

/// Why a text is not an endpoint URL; the texts are etcd's and Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("parse {input:?}: {reason}")]
    Syntax {
        /// The text, trimmed.
        input: String,
        /// Go's words for what is wrong.
        reason: String,
    },
    /// A scheme that is not ours, or none.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// No port.
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    /// A path, be it only a slash.
    #[error("URL must not contain a path: {0}")]
    Path(String),
    /// Parts that etcd would accept and carry about, and that nothing uses.
    #[error("URL must not contain user info, a query or a fragment: {0}")]
    Extra(String),
    /// A unix URL that names no socket.
    #[error("URL must name a socket path: {0}")]
    Socket(String),
    /// An empty list.
    #[error("no valid URLs given")]
    Empty,
}

/// Longest URL text taken, in bytes: host names end at 253, socket paths at 107. Longer ones are
/// refused as a path.
const URL_SIZE_MAX_BYTES: usize = 1024;

impl EndpointUrl {
    /// Parses one URL, ignoring white space around it.
    ///
    /// # Errors
    /// [`UrlError`] with etcd's text.
    pub fn parse(input: &str) -> Result<Self, UrlError> {
        let input = input.trim();
        let syntax =
            |reason: &str| UrlError::Syntax { input: input.to_owned(), reason: reason.to_owned() };
        if input.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(syntax("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = split_scheme(input).map_err(syntax)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme(input.to_owned())),
        };
        if input.len() > URL_SIZE_MAX_BYTES {
            return Err(UrlError::Path(input.to_owned()));
        }
        if scheme.is_unix() {
            return Self::parse_socket(input, scheme, rest);
        }
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(UrlError::HostPort(input.to_owned()));
        };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if authority.contains('@') {
            return Err(UrlError::Extra(input.to_owned()));
        }
        let (host, port) = split_host_port(authority).map_err(|reason| match reason {
            AuthorityError::NoPort => UrlError::HostPort(input.to_owned()),
            AuthorityError::Other(reason) => syntax(&reason),
        })?;
        match rest.as_bytes().get(authority.len()) {
            None => {}
            Some(b'/') => return Err(UrlError::Path(input.to_owned())),
            Some(_) => return Err(UrlError::Extra(input.to_owned())),
        }
        Ok(Self {
            text: format!("{}://{authority}", scheme.as_str()),
            scheme,
            host: host.to_owned(),
            port,
            socket_path: String::new(),
        })
    }

    /// A socket path is host and path together, as etcd joins them: `unix://a.sock` is relative,
    /// `unix:///run/a.sock` and `unix:/run/a.sock` are absolute.
    fn parse_socket(input: &str, scheme: Scheme, rest: &str) -> Result<Self, UrlError> {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let is_opaque = !rest.starts_with('/');
        if path.is_empty() || is_opaque {
            return Err(UrlError::Socket(input.to_owned()));
        }
        if path.contains(['?', '#', '@']) {
            return Err(UrlError::Extra(input.to_owned()));
        }
        Ok(Self {
            text: format!("{}:{rest}", scheme.as_str()),
            scheme,
            host: String::new(),
            port: 0,
            socket_path: path.to_owned(),
        })
    }

    /// Parses a comma-separated list, sorts it by text and drops repetitions.
    ///
    /// # Errors
    /// The first [`UrlError`] of the list.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, UrlError> {
        let mut urls = list.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// A plain TCP endpoint.
    #[must_use]
    pub fn http(address: IpAddr, port: u16) -> Self {
        let host = address.to_string();
        let bracketed = if address.is_ipv6() { format!("[{host}]") } else { host.clone() };
        Self {
            text: format!("http://{bracketed}:{port}"),
            scheme: Scheme::Http,
            host,
            port,
            socket_path: String::new(),
        }
    }

    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host without brackets; empty for unix sockets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 0 for unix sockets, or when the URL ends in a bare colon.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the socket's path; empty for TCP.
    #[must_use]
    pub fn socket_path(&self) -> &str {
        &self.socket_path
    }

    /// Returns the whole URL as member IDs and member lists carry it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns `host:port` as written, with brackets; the socket path for unix.
    #[must_use]
    pub fn address(&self) -> &str {
        if self.scheme.is_unix() {
            return &self.socket_path;
        }
        self.text.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Joins texts of URLs with commas.
#[must_use]
pub fn join(urls: &[EndpointUrl]) -> String {
    urls.iter().map(EndpointUrl::as_str).collect::<Vec<_>>().join(",")
}

/// Splits off the scheme as Go's parser does; a text without one has an empty scheme.
fn split_scheme(input: &str) -> Result<(&str, &str), &'static str> {
    for (at, character) in input.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&input[..at], &input[at + 1..])),
            _ => break,
        }
    }
    let first_segment = input.split('/').next().unwrap_or("");
    if first_segment.contains(':') {
        return Err("first path segment in URL cannot contain colon");
    }
    Ok(("", input))
}

enum AuthorityError {
    NoPort,
    Other(String),
}

/// Splits `host:port`, `[v6]:port`; the host may be empty, the port's digits too.
fn split_host_port(authority: &str) -> Result<(&str, u16), AuthorityError> {
    let other = |reason: &str| AuthorityError::Other(reason.to_owned());
    if let Some(bad) = authority
        .chars()
        .find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        return Err(AuthorityError::Other(format!(
            "invalid character {:?} in host name",
            bad.to_string()
        )));
    }
    let (host, after) = if let Some(inner) = authority.strip_prefix('[') {
        inner.split_once(']').ok_or_else(|| other("missing ']' in host"))?
    } else {
        let at = authority.rfind(':').unwrap_or(authority.len());
        authority.split_at(at)
    };
    let Some(digits) = after.strip_prefix(':') else {
        return if after.is_empty() {
            Err(AuthorityError::NoPort)
        } else {
            Err(AuthorityError::Other(format!("invalid port {after:?} after host")))
        };
    };
    if !authority.starts_with('[') && host.contains(':') {
        return Err(AuthorityError::NoPort);
    }
    let is_numeric = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    match port {
        Some(port) if is_numeric => Ok((host, port)),
        _ => Err(AuthorityError::Other(format!("invalid port {after:?} after host"))),
    }
}

#[cfg(test)]
mod tests;

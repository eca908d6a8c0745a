//! Who may ask from where: `--host-whitelist` and `--cors`.
//!
//! Source:     server-config.md 6; etcd `server/embed/serve.go` (accessController), compared with 3.5.1.

use std::collections::BTreeSet;

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::reply::{self, CORS, Reply};

/// What requests are let through, of gRPC apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Hosts that may be named in an insecure request; `None` for any.
    pub hosts: Option<BTreeSet<String>>,
    /// Origins that a browser may ask from; `None` for any.
    pub origins: Option<BTreeSet<String>>,
}

impl Access {
    /// The refusal of a request to a host that is not listed: a page of another site may have been
    /// led here by its name server.
    pub(crate) fn refusal(&self, parts: &Parts) -> Option<Reply> {
        let hosts = self.hosts.as_ref()?;
        let host = host_of(parts);
        if hosts.contains(host) {
            return None;
        }
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        let text = types::http_text::unknown_host(host);
        Some(reply::error(StatusCode::MISDIRECTED_REQUEST, &text))
    }

    /// Puts the origin of a request in the place of any, or takes the headers away.
    pub(crate) fn restrict(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(origins) = &self.origins else { return };
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let listed =
            |origin: &&HeaderValue| origin.to_str().is_ok_and(|origin| origins.contains(origin));
        match origin.filter(listed) {
            Some(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
            None => CORS.iter().for_each(|(name, _)| drop(headers.remove(name))),
        }
    }
}

/// The host that a request names, without its port.
fn host_of(parts: &Parts) -> &str {
    let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = named.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    without_port(host.unwrap_or_default())
}

/// As Go's `net.SplitHostPort`: what does not have a port is taken as it is.
fn without_port(host: &str) -> &str {
    let Some((name, _)) = host.rsplit_once(':') else { return host };
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address,
        None if name.contains([':', '[', ']']) => host,
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use ::http::Request;

    use super::*;

    fn set(words: &[&str]) -> Option<BTreeSet<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn refused(hosts: &[&str], host: &str) -> bool {
        let access = Access { hosts: set(hosts), origins: None };
        let request = Request::builder().uri("/version").header("host", host).body(()).unwrap();
        access.refusal(&request.into_parts().0).is_some()
    }

    #[test]
    fn hosts_are_compared_without_their_port() {
        for (host, is_refused) in [
            ("foo", false),
            ("foo:99", false),
            ("bar", true),
            ("foo.bar", true),
            ("[::1]:2379", false),
            ("[::1]", true),
            ("::1", false),
            ("", true),
        ] {
            assert_eq!(refused(&["foo", "::1"], host), is_refused, "{host}");
        }
        // An empty list lets nothing through, whatever etcd's help says of it.
        assert!(refused(&[""], "foo"));
        let any = Access::default();
        let request = Request::builder().uri("http://h:1/version").body(()).unwrap();
        assert!(any.refusal(&request.into_parts().0).is_none());
    }

    #[test]
    fn origins_are_told_or_not() {
        let access = Access { hosts: None, origins: set(&["http://a:1"]) };
        let answered = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            reply::add_cors(&mut headers);
            let origin = origin.map(HeaderValue::from_static);
            access.restrict(origin.as_ref(), &mut headers);
            let allowed = headers.get("access-control-allow-origin");
            (headers.len(), allowed.map(|value| value.to_str().unwrap().to_owned()))
        };
        assert_eq!(answered(Some("http://a:1")), (3, Some("http://a:1".to_owned())));
        assert_eq!(answered(Some("http://b:1")), (0, None));
        assert_eq!(answered(None), (0, None));
    }
}

//! `/members/hashkv` on the peer port: what corruption checks of other members ask.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use transport::{PeerReply, PeerRequest};
use types::EtcdError;

use crate::handle::Handle;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    revision: i64,
}

/// Answers the path, `None` for any other.
pub(crate) async fn answer(handle: &Handle, request: PeerRequest) -> Option<PeerReply> {
    if request.parts.uri.path() != "/members/hashkv" {
        return None;
    }
    let named = request.parts.headers.get("x-etcd-cluster-id").and_then(|id| id.to_str().ok());
    let own = handle.cluster_id().to_string();
    if named.is_some_and(|id| !id.is_empty() && id != own) {
        return Some(text(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch"));
    }
    let Ok(body) = serde_json::from_slice::<Body>(&request.body) else {
        return Some(text(StatusCode::BAD_REQUEST, "error unmarshalling request"));
    };
    Some(match handle.hash_kv(body.revision).await {
        Ok((hash, current)) => {
            let json = hash_json(current, hash.hash, hash.compact_revision);
            reply(StatusCode::OK, "application/json", json, &own)
        }
        Err(EtcdError::Compacted) => {
            text(StatusCode::BAD_REQUEST, "mvcc: required revision has been compacted")
        }
        Err(EtcdError::FutureRev) => {
            text(StatusCode::BAD_REQUEST, "mvcc: required revision is a future revision")
        }
        Err(other) => text(StatusCode::INTERNAL_SERVER_ERROR, other.text()),
    })
}

/// Zero fields are left out, as Go's encoder does with these.
fn hash_json(revision: i64, hash: u32, compact_revision: i64) -> String {
    let mut json = format!(r#"{{"header":{{"revision":{revision}}}"#);
    if hash != 0 {
        json.push_str(&format!(r#","hash":{hash}"#));
    }
    if compact_revision != 0 {
        json.push_str(&format!(r#","compact_revision":{compact_revision}"#));
    }
    json.push('}');
    json
}

pub(crate) fn text(status: StatusCode, message: &str) -> PeerReply {
    let mut reply = reply(status, "text/plain; charset=utf-8", format!("{message}\n"), "");
    let nosniff = HeaderValue::from_static("nosniff");
    reply.headers.insert(HeaderName::from_static("x-content-type-options"), nosniff);
    reply
}

fn reply(status: StatusCode, kind: &'static str, body: String, cluster_id: &str) -> PeerReply {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(cluster_id)
        && !cluster_id.is_empty()
    {
        headers.insert(HeaderName::from_static("x-etcd-cluster-id"), id);
    }
    PeerReply { status, headers, body: body.into() }
}

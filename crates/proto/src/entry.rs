//! What the data of a normal log entry says.
//!
//! Owns:       nothing.
//! Uses:       `raftpb`'s codec, `v2_request`, the generated v3 requests.
//! Never:      applies anything.
//! Invariants: the v3 form is tried first, as Go does; a bare v2 request never passes for one.
//! Source:     peer-protocol.md 12.6; api-v3.md 1.9, 1.10.

use bytes::Bytes;
use prost::Message as _;

use crate::etcdserverpb::InternalRaftRequest;
use crate::raftpb::DecodeError;
use crate::raftpb::wire::Reader;
use crate::v2_request::V2Request;

/// Field of `InternalRaftRequest` that holds a v2 request.
const V2_FIELD: u32 = 2;

/// The request inside a normal entry.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryPayload {
    /// A leader's first entry.
    Empty,
    /// A request of the v3 store, of auth, or about members and versions since 3.6.
    V3(Box<InternalRaftRequest>),
    /// A v2 request, bare or inside a v3 one.
    V2(V2Request),
}

/// Reads the data of a normal entry.
///
/// # Errors
/// When the data is neither a v3 nor a v2 request.
pub fn decode_payload(data: &Bytes) -> Result<EntryPayload, DecodeError> {
    if data.is_empty() {
        return Ok(EntryPayload::Empty);
    }
    let v3 = match decode_v3(data) {
        Ok(payload) => return Ok(payload),
        Err(text) => text,
    };
    // A bare v2 request: its method, in field 2, is no message and its path, in field 3, no range.
    match V2Request::decode(data.clone()) {
        Ok(request) => Ok(EntryPayload::V2(request)),
        Err(error) => Err(DecodeError::NotARequest { v3, v2: error.to_string() }),
    }
}

fn decode_v3(data: &Bytes) -> Result<EntryPayload, String> {
    // In its box from the beginning: it is large, and every member decodes every entry.
    let request =
        Box::<InternalRaftRequest>::decode(data.clone()).map_err(|error| error.to_string())?;
    // Presence counts, not content, so the generated type (plain bytes) cannot tell.
    match embedded_v2(data).map_err(|error| error.to_string())? {
        Some(v2) => Ok(EntryPayload::V2(v2)),
        None => Ok(EntryPayload::V3(request)),
    }
}

fn embedded_v2(data: &Bytes) -> Result<Option<V2Request>, DecodeError> {
    let mut found = None;
    let mut reader = Reader::new(data);
    while let Some(tag) = reader.next_tag()? {
        if tag.number == V2_FIELD {
            found = Some(V2Request::decode(reader.bytes(tag)?)?);
        } else {
            reader.skip(tag)?;
        }
    }
    Ok(found)
}

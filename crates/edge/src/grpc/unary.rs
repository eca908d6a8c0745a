//! The unary methods of KV, which are most of what a server does, without tonic's generic way: the
//! whole message is read, the method called, and its answer is one ready-made frame.
//!
//! Owns:       nothing.
//! Uses:       `kv`, `frames`, `outgoing`.
//! Never:      a code, text or header that tonic's way would not have sent.
//! Invariants: errors go out as headers alone, as tonic sends them.
//! Source:     design.md 6; docs/performance.md (what the generic way costs).

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::Body;
use prost::Message;
use proto::etcdserverpb::kv_server::Kv;
use tonic::{Request, Response, Status};

use super::frames::{Frames, PREFIX_BYTES};
use super::kv::KvService;
use super::methods::{KV, Method};
use super::{BodyData, BodyError};

/// A unary method of KV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Range,
    Put,
    DeleteRange,
    Txn,
}

impl Unary {
    /// The method, if it is served here.
    pub(super) fn of(method: &Method) -> Option<Self> {
        match (method.service, method.name) {
            (KV, "Range") => Some(Self::Range),
            (KV, "Put") => Some(Self::Put),
            (KV, "DeleteRange") => Some(Self::DeleteRange),
            (KV, "Txn") => Some(Self::Txn),
            _ => None,
        }
    }

    /// Reads the request, does what it says and frames the answer.
    pub(super) async fn call<B>(self, kv: &KvService, body: Frames<B>) -> Result<Bytes, Status>
    where
        B: Body<Data = BodyData> + Unpin,
        B::Error: Into<BodyError>,
    {
        let message = read(body).await?;
        // The methods are boxed by their trait; the rest of this future stays small, which counts:
        // it is copied to the heap with each request.
        match self {
            Self::Range => frame(kv.range(decode(message)?).await?),
            Self::Put => frame(kv.put(decode(message)?).await?),
            Self::DeleteRange => frame(kv.delete_range(decode(message)?).await?),
            Self::Txn => frame(kv.txn(decode(message)?).await?),
        }
    }
}

/// The only message of a body, without its prefix.
async fn read<B>(mut body: Frames<B>) -> Result<Bytes, Status>
where
    B: Body<Data = BodyData> + Unpin,
    B::Error: Into<BodyError>,
{
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame.map_err(Status::from_error)?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    let mut message = if joined.is_empty() { first } else { joined.freeze() };
    // The check hands on whole messages only, each behind its prefix.
    Ok(message.split_off(PREFIX_BYTES.min(message.len())))
}

fn decode<Q: Message + Default>(message: Bytes) -> Result<Request<Q>, Status> {
    proto::codec::decode(message).map(Request::new)
}

fn frame<R: Message>(response: Response<R>) -> Result<Bytes, Status> {
    let message = response.into_inner();
    let length = message.encoded_len();
    let announced = u32::try_from(length).map_err(|_| {
        let text = format!("Cannot return body with more than 4GB of data but got {length} bytes");
        Status::resource_exhausted(text)
    })?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(announced);
    message.encode_raw(&mut framed);
    Ok(framed.freeze())
}

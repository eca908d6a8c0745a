//! The codec of all services: prost's, but what cannot be decoded is answered in grpc-go's words.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};
use types::grpc_text;

/// What Go's protobuf library says of bytes that are no message. It does not say where and why, and
/// neither do we: the details of prost are not those of Go.
const MALFORMED: &str = "proto: cannot parse invalid wire-format data";

/// Encodes `T`, decodes `U`.
#[derive(Clone, Debug)]
pub struct GoCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for GoCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for GoCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = GoDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        GoDecoder(PhantomData)
    }
}

/// Decodes `U`.
#[derive(Clone, Debug)]
pub struct GoDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for GoDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(bytes).map(Some)
    }
}

/// Decodes a message of a unary call.
///
/// # Errors
/// In grpc-go's words, when it is malformed.
pub fn decode<U: Message + Default>(bytes: impl Buf) -> Result<U, Status> {
    U::decode(bytes).map_err(|_| Status::internal(grpc_text::bad_message(MALFORMED)))
}

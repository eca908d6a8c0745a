//! A key-value pair that is sent exactly as it is stored.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

/// Stands in for `mvccpb.KeyValue` inside replies: the encoded message, neither decoded nor encoded
/// again on its way from the store to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoredKeyValue(pub Arc<[u8]>);

impl prost::Message for StoredKeyValue {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Arc::default();
    }

    /// Collects the fields again; only clients decode this message.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut whole = self.0.to_vec();
        match wire_type {
            WireType::Varint => {
                let mut number = 0_u64;
                encoding::uint64::merge(wire_type, &mut number, buf, context)?;
                encoding::uint64::encode(tag, &number, &mut whole);
            }
            WireType::LengthDelimited => {
                let mut bytes = Bytes::new();
                encoding::bytes::merge(wire_type, &mut bytes, buf, context)?;
                encoding::bytes::encode(tag, &bytes, &mut whole);
            }
            _ => encoding::skip_field(wire_type, tag, buf, context)?,
        }
        self.0 = whole.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::RangeResponse;
    use crate::mvccpb::KeyValue;
    use prost::Message;

    #[test]
    fn stored_pairs_survive_a_round_trip_byte_for_byte() {
        let pair = KeyValue {
            key: Bytes::from("k"),
            create_revision: 2,
            mod_revision: 300,
            version: 1,
            value: Bytes::from("v"),
            lease: 0,
        };
        let stored = StoredKeyValue(pair.encode_to_vec().into());
        let reply = RangeResponse { kvs: vec![stored.clone()], ..RangeResponse::default() };
        let decoded = RangeResponse::decode(Bytes::from(reply.encode_to_vec())).unwrap();
        assert_eq!(decoded.kvs, reply.kvs);
        assert_eq!(KeyValue::decode(&stored.0[..]).unwrap(), pair);
    }
}

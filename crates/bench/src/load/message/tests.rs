//! Patched requests against the messages that they are to be.

use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, ResponseHeader, TxnRequest,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::keys::Names;
use super::*;

fn decoded<M: Message + Default>(frame: &Bytes) -> M {
    assert_eq!(frame[0], 0);
    let length = u32::from_be_bytes(frame[1..FRAME_BYTES].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), frame.len() - FRAME_BYTES);
    M::decode(&frame[FRAME_BYTES..]).unwrap()
}

#[test]
fn patched_requests_decode_to_what_was_wished() {
    let mut rng = SmallRng::seed_from_u64(5);
    for _ in 0..300 {
        let names = Names::new(rng.random_range(16..300), 1_000_000).unwrap();
        let value: Bytes = (b'a'..=b'z').cycle().take(rng.random_range(0..400)).collect();
        let key = Bytes::copy_from_slice(names.first());
        let (index, span) = (rng.random_range(0..900_000), rng.random_range(0..100_000));
        let stamp = Stamp { sent: rng.random(), number: rng.random() };

        let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
        let put: PutRequest =
            decoded(&Template::new(&put, names.first(), &value).fill(|_| index, stamp));
        assert_eq!(put.key, names.name(index));
        assert_eq!(put.value.len(), value.len());
        if value.len() >= STAMP_BYTES {
            assert_eq!(Stamp::of(&put.value), Some(stamp));
            assert_eq!(put.value[STAMP_BYTES..], value[STAMP_BYTES..]);
        }

        let range = RangeRequest {
            key: key.clone(),
            range_end: key.clone(),
            limit: 9,
            serializable: true,
            ..RangeRequest::default()
        };
        let filled = Template::new(&range, names.first(), b"")
            .fill(|place| index + [0, span][place], Stamp::default());
        let wished = RangeRequest {
            key: names.name(index).into(),
            range_end: names.name(index + span).into(),
            ..range
        };
        assert_eq!(decoded::<RangeRequest>(&filled), wished);
    }
}

#[test]
fn all_names_of_a_transaction_are_patched() {
    let names = Names::new(64, 100).unwrap();
    let key = Bytes::copy_from_slice(names.first());
    let compare = |version| Compare {
        key: key.clone(),
        target_union: Some(TargetUnion::Version(version)),
        ..Compare::default()
    };
    let txn = TxnRequest { compare: vec![compare(1), compare(2)], ..TxnRequest::default() };
    let filled = Template::new(&txn, names.first(), b"").fill(|_| 42, Stamp::default());
    let filled: TxnRequest = decoded(&filled);
    assert!(filled.compare.iter().all(|compare| compare.key == names.name(42)));
}

#[test]
fn replies_are_walked() {
    let reply = RangeResponse {
        header: Some(ResponseHeader { revision: 77, ..ResponseHeader::default() }),
        count: 1_000_000,
        more: true,
        ..RangeResponse::default()
    };
    let bytes = reply.encode_to_vec();
    assert_eq!(number(&bytes, 4), Ok(1_000_000));
    assert_eq!(number(&bytes, 3), Ok(1));
    assert_eq!(number(&bytes, 9), Ok(0));
    assert_eq!(revision(&bytes), Ok(77));
    for end in 1..bytes.len() {
        // Cut anywhere, it may be another message, but never a panic.
        let _ = revision(&bytes[..end]);
    }
    assert!(fields(&[0x0a, 0x05, 1], |_, _| ()).is_err());
}

#[test]
fn messages_are_taken_off_a_stream_as_they_complete() {
    let message = PutRequest { key: Bytes::from_static(b"k"), ..PutRequest::default() };
    let two = [frame(&message), frame(&PutRequest::default())].concat();
    let mut buffer = BytesMut::new();
    let mut taken = Vec::new();
    for byte in two {
        buffer.extend([byte]);
        taken.extend(take_message(&mut buffer).unwrap());
    }
    assert_eq!(taken, [Bytes::from(message.encode_to_vec()), Bytes::new()]);
    assert!(take_message(&mut BytesMut::from(&[1_u8, 0, 0, 0, 0][..])).is_err());
}

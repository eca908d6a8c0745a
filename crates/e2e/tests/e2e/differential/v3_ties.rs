//! What is left open in a reply is put in one order: pairs that sort alike, and sets.

use bytes::Bytes;
use prost::Message;
use proto::StoredKeyValue;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{
    LeaseLeasesResponse, LeaseTimeToLiveResponse, RangeRequest, RangeResponse,
};
use proto::mvccpb::KeyValue;

/// Server-picked lease IDs are above this; those of tests are below.
const PICKED_FROM: i64 = 1 << 40;

/// The reply with what has no defined order put in order. Bytes that are no such message stay.
pub(super) fn settle(path: &str, request: &Bytes, reply: Bytes) -> Bytes {
    let settled = match path {
        "/etcdserverpb.KV/Range" => range(request, &reply),
        "/etcdserverpb.Lease/LeaseTimeToLive" => attached(&reply),
        "/etcdserverpb.Lease/LeaseLeases" => leases(&reply),
        _ => None,
    };
    settled.unwrap_or(reply)
}

/// Pairs that sort alike come in any order, and a limit takes any of those at its end: they are put
/// in the order of keys, and of the last ones only the number stays. Pairs out of order stay so.
fn range(request: &Bytes, reply: &Bytes) -> Option<Bytes> {
    let request = RangeRequest::decode(request.clone()).ok()?;
    let target = SortTarget::try_from(request.sort_target).ok()?;
    if target == SortTarget::Key {
        return None;
    }
    let mut reply = RangeResponse::decode(reply.clone()).ok()?;
    let pair = |kv: &StoredKeyValue| KeyValue::decode(&kv.0[..]).ok();
    let pairs: Option<Vec<KeyValue>> = reply.kvs.iter().map(pair).collect();
    let mut groups: Vec<(Rank, Vec<(Bytes, StoredKeyValue)>)> = Vec::new();
    for (kv, stored) in pairs?.into_iter().zip(std::mem::take(&mut reply.kvs)) {
        // Values were the rank, and are not there to be seen.
        let rank = if request.keys_only && target == SortTarget::Value {
            Rank::Unseen
        } else {
            rank(target, &kv)
        };
        match groups.last_mut() {
            Some((last, group)) if *last == rank => group.push((kv.key, stored)),
            _ => groups.push((rank, vec![(kv.key, stored)])),
        }
    }
    let is_in_order = groups.is_sorted_by(|(one, _), (other, _)| {
        if request.sort_order == i32::from(SortOrder::Descend) { one > other } else { one < other }
    });
    if !is_in_order {
        return None;
    }
    let cut = if reply.more { groups.len().saturating_sub(1) } else { groups.len() };
    for (number, (_, mut group)) in groups.into_iter().enumerate() {
        group.sort_by(|(one, _), (other, _)| one.cmp(other));
        let unknown = StoredKeyValue::default();
        reply.kvs.extend(
            group.into_iter().map(
                |(_, stored)| {
                    if number < cut { stored } else { unknown.clone() }
                },
            ),
        );
    }
    Some(reply.encode_to_vec().into())
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(i64),
    Value(Bytes),
    Unseen,
}

fn rank(target: SortTarget, kv: &KeyValue) -> Rank {
    match target {
        SortTarget::Key => Rank::Value(kv.key.clone()),
        SortTarget::Version => Rank::Number(kv.version),
        SortTarget::Create => Rank::Number(kv.create_revision),
        SortTarget::Mod => Rank::Number(kv.mod_revision),
        SortTarget::Value => Rank::Value(kv.value.clone()),
    }
}

fn attached(reply: &Bytes) -> Option<Bytes> {
    let mut reply = LeaseTimeToLiveResponse::decode(reply.clone()).ok()?;
    reply.keys.sort();
    Some(reply.encode_to_vec().into())
}

/// Which of two leases has less time left is a matter of milliseconds; picked IDs are any.
fn leases(reply: &Bytes) -> Option<Bytes> {
    let mut reply = LeaseLeasesResponse::decode(reply.clone()).ok()?;
    for lease in &mut reply.leases {
        lease.id = lease.id.min(PICKED_FROM);
    }
    reply.leases.sort_by_key(|lease| lease.id);
    Some(reply.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(names: &[(&str, i64)]) -> Vec<StoredKeyValue> {
        let pair = |(key, version): &(&str, i64)| {
            let kv =
                KeyValue { key: key.to_string().into(), version: *version, ..KeyValue::default() };
            StoredKeyValue(kv.encode_to_vec().into())
        };
        names.iter().map(pair).collect()
    }

    #[test]
    fn only_ties_are_put_in_order() {
        let request =
            RangeRequest { sort_target: SortTarget::Version.into(), ..Default::default() };
        let settled = |names: &[(&str, i64)], more| {
            let reply = RangeResponse { kvs: pairs(names), more, ..Default::default() };
            let (request, reply) = (request.encode_to_vec().into(), reply.encode_to_vec().into());
            RangeResponse::decode(settle("/etcdserverpb.KV/Range", &request, reply))
                .expect("a reply")
                .kvs
        };
        let tidy = [("b", 1), ("a", 2), ("c", 2)];
        assert_eq!(settled(&[("b", 1), ("c", 2), ("a", 2)], false), pairs(&tidy));
        assert_eq!(
            settled(&[("c", 2), ("a", 2), ("b", 1)], false),
            pairs(&[("c", 2), ("a", 2), ("b", 1)])
        );
        let cut = settled(&[("b", 1), ("c", 2), ("a", 2)], true);
        assert_eq!(cut[..1], pairs(&[("b", 1)]));
        assert_eq!(cut[1..], [StoredKeyValue::default(), StoredKeyValue::default()]);
    }
}

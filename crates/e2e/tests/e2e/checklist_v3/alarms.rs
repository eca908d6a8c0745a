//! Items 133-135 and 149: alarms and health.

use bytes::Bytes;
use e2e::v3::Failure;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, PutRequest,
    StatusRequest, StatusResponse,
};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{Part, all_of, delete, get, put, range_of};

super::items! {
    both {
        small_quota: item_133_a_full_database_takes_no_more,
            item_134_an_alarm_is_disarmed_by_member_and_kind;
        alone: item_135_a_corrupt_cluster_takes_no_writes;
        shared: item_149_the_health_service_knows_one_name;
    }
    // 3.5.1 looks at the size of the database alone.
    ours {
        small_quota: item_133_txns_that_take_no_room_pass;
    }
    awaited {
        small_quota: item_133_a_full_database_can_be_defragmented;
    }
}

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
const CORRUPT: &str = "etcdserver: corrupt cluster";

#[track_caller]
fn alarm(case: &Case, action: AlarmAction, member_id: u64, kind: AlarmType) -> Vec<(u64, i32)> {
    let (action, alarm) = (action.into(), kind.into());
    let request = AlarmRequest { action, member_id, alarm };
    let answer: Result<AlarmResponse, Failure> =
        case.client.unary("/etcdserverpb.Maintenance/Alarm", &request);
    let alarms = answer.expect("alarm").alarms;
    alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
}

#[track_caller]
fn status(case: &Case) -> StatusResponse {
    case.client.unary("/etcdserverpb.Maintenance/Status", &StatusRequest {}).expect("status")
}

/// Writes until the database is full; the number of keys in it.
#[track_caller]
fn fill(case: &Case) -> usize {
    let large = |number: usize| PutRequest {
        value: Bytes::from(vec![b'x'; 1 << 20]),
        ..put(case.key(&format!("{number}")), "")
    };
    // The size is looked at after each commit, of which there are ten a second.
    for number in 0..200 {
        if let Err(failure) = case.put(&large(number)) {
            let expected = Failure { code: Code::ResourceExhausted, message: NO_SPACE.to_owned() };
            assert_eq!(failure, expected, "after {number} MiB");
            return number;
        }
    }
    panic!("200 MiB fit into a small quota");
}

fn item_133_a_full_database_takes_no_more(case: &mut Case) {
    let count = fill(case);
    let small = put(case.key("small"), "x");
    let full = Code::ResourceExhausted;
    refused(case.put(&small), full, NO_SPACE);
    refused(case.grant(1000, 0), full, NO_SPACE);
    refused(case.txn(&all_of(vec![small.clone().op()])), full, NO_SPACE);
    assert_eq!(case.range(&get(case.key("0"))).expect("range").kvs.len(), 1);
    for number in 0..count {
        case.remove(&number.to_string());
    }
    let revision = i64::try_from(2 * count).expect("a revision");
    assert!(case.compact(revision, true).is_ok());
    refused(case.put(&small), full, NO_SPACE);
}

fn item_133_a_full_database_can_be_defragmented(case: &mut Case) {
    let count = fill(case);
    for number in 0..count {
        case.remove(&number.to_string());
    }
    let revision = i64::try_from(2 * count).expect("a revision");
    assert!(case.compact(revision, true).is_ok());
    let defragment: Result<DefragmentResponse, Failure> =
        case.client.unary("/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {});
    assert!(defragment.is_ok(), "{defragment:?}");
    // Space alone does not end it.
    let small = put(case.key("small"), "x");
    refused(case.put(&small), Code::ResourceExhausted, NO_SPACE);
    let member = status(case).header.expect("a header").member_id;
    let raised = [(member, AlarmType::Nospace.into())];
    assert_eq!(alarm(case, AlarmAction::Deactivate, member, AlarmType::Nospace), raised);
    assert!(case.put(&small).is_ok() && case.grant(1000, 0).is_ok());
}

fn item_133_txns_that_take_no_room_pass(case: &mut Case) {
    let _ = fill(case);
    let freeing = all_of(vec![get(case.key("0")).op(), delete(case.key("0")).op()]);
    assert!(case.txn(&freeing).expect("txn").succeeded);
    let reading = all_of(vec![get(case.key("1")).op()]);
    assert_eq!(range_of(&case.txn(&reading).expect("txn"), 0).count, 1);
}

fn item_134_an_alarm_is_disarmed_by_member_and_kind(case: &mut Case) {
    use AlarmAction::{Activate, Deactivate, Get};
    let member = status(case).header.expect("a header").member_id;
    let raised = vec![(member, AlarmType::Nospace.into())];
    assert_eq!(alarm(case, Activate, member, AlarmType::Nospace), raised);
    assert_eq!(alarm(case, Activate, member, AlarmType::Nospace), raised);
    assert_eq!(alarm(case, Get, 0, AlarmType::None), raised);
    assert_eq!(status(case).errors, [format!("memberID:{member} alarm:NOSPACE ")]);
    for (other, kind) in [
        (member, AlarmType::Corrupt),
        (member ^ 1, AlarmType::Nospace),
        (0, AlarmType::None),
        (0, AlarmType::Nospace),
    ] {
        assert!(alarm(case, Deactivate, other, kind).is_empty(), "{other} {kind:?}");
    }
    refused(case.put(&put(case.key("a"), "1")), Code::ResourceExhausted, NO_SPACE);
    assert_eq!(alarm(case, Deactivate, member, AlarmType::Nospace), raised);
    assert!(alarm(case, Get, 0, AlarmType::None).is_empty());
    case.write("a", "1");
    assert!(status(case).errors.is_empty());
}

fn item_135_a_corrupt_cluster_takes_no_writes(case: &mut Case) {
    case.write("a", "1");
    let lease = case.grant(1000, 0).expect("grant").id;
    let member = status(case).header.expect("a header").member_id;
    let raised = vec![(member, AlarmType::Corrupt.into())];
    assert_eq!(alarm(case, AlarmAction::Activate, member, AlarmType::Corrupt), raised);
    let lost = Code::DataLoss;
    refused(case.put(&put(case.key("a"), "2")), lost, CORRUPT);
    refused(case.delete(&delete(case.key("a"))), lost, CORRUPT);
    refused(case.txn(&all_of(vec![put(case.key("a"), "2").op()])), lost, CORRUPT);
    refused(case.compact(1, false), lost, CORRUPT);
    refused(case.grant(1000, 0), lost, CORRUPT);
    refused(case.revoke(lease), lost, CORRUPT);
    assert_eq!(case.all(), ["a=1 @1 @1 v1"]);
    assert_eq!(alarm(case, AlarmAction::Deactivate, member, AlarmType::Corrupt), raised);
    case.write("a", "2");
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

fn item_149_the_health_service_knows_one_name(case: &mut Case) {
    let check = |service: &str| -> Result<HealthCheckResponse, Failure> {
        let request = HealthCheckRequest { service: service.to_owned() };
        case.client.unary("/grpc.health.v1.Health/Check", &request)
    };
    const SERVING: i32 = 1;
    assert_eq!(check("").expect("health").status, SERVING);
    for name in ["etcdserverpb.KV", "nonsense"] {
        refused(check(name), Code::NotFound, "unknown service");
    }
}

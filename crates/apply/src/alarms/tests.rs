use super::*;

const NOSPACE: i32 = AlarmType::Nospace as i32;
const CORRUPT: i32 = AlarmType::Corrupt as i32;
const NONE: i32 = AlarmType::None as i32;

fn request(action: i32, member_id: u64, alarm: i32) -> AlarmRequest {
    AlarmRequest { action, member_id, alarm }
}

fn raised(list: &[(u64, i32)]) -> Alarms {
    let mut alarms = Alarms::default();
    for &(member, kind) in list {
        let _ = alarms.apply(&request(ACTION_ACTIVATE, member, kind));
    }
    alarms
}

#[test]
fn requests_answer_and_write_as_etcd_does() {
    // (before, request, alarms in the answer, rows written, alarms after)
    let five = (5, NOSPACE);
    let six = (6, CORRUPT);
    type Case<'a> = (&'a [(u64, i32)], AlarmRequest, &'a [(u64, i32)], usize, &'a [(u64, i32)]);
    let cases: &[Case<'_>] = &[
        (&[], request(ACTION_ACTIVATE, 5, NOSPACE), &[five], 1, &[five]),
        (&[five], request(ACTION_ACTIVATE, 5, NOSPACE), &[five], 0, &[five]),
        (&[], request(ACTION_ACTIVATE, 5, NONE), &[], 0, &[]),
        (&[five, six], request(ACTION_GET, 0, NONE), &[five, six], 0, &[five, six]),
        (&[five, six], request(ACTION_GET, 5, CORRUPT), &[six], 0, &[five, six]),
        (&[five, six], request(ACTION_DEACTIVATE, 5, NOSPACE), &[five], 1, &[six]),
        (&[five], request(ACTION_DEACTIVATE, 0, NONE), &[], 0, &[five]),
        (&[five], request(ACTION_DEACTIVATE, 5, CORRUPT), &[], 0, &[five]),
        (&[five], request(77, 5, NOSPACE), &[], 0, &[five]),
    ];
    for (before, request, answer, rows, after) in cases {
        let mut alarms = raised(before);
        let (members, ops) = alarms.apply(request);
        let found: Vec<_> = members.iter().map(|m| (m.member_id, m.alarm)).collect();
        assert_eq!(&found, answer, "{request:?}");
        assert_eq!(ops.len(), *rows, "{request:?}");
        assert_eq!(alarms, raised(after), "{request:?}");
    }
}

#[test]
fn row_is_the_member_without_a_value() {
    let (_, ops) = Alarms::default().apply(&request(ACTION_ACTIVATE, 5, NOSPACE));
    assert_eq!(ops, [Op::put(Bucket::Alarm, &b"\x08\x05\x10\x01"[..], &b""[..])]);
    let mut restored = Alarms::default();
    restored.restore(&ops[0].key).unwrap();
    assert_eq!(restored, raised(&[(5, NOSPACE)]));
    assert_eq!(restored.restore(b"\xff"), None);
}

#[test]
fn writes_are_gated_outward_in() {
    let gate = |list: &[(u64, i32)], cost: i64| raised(list).check_write(|| cost);
    assert_eq!(gate(&[], 1), Ok(()));
    assert_eq!(gate(&[(1, NOSPACE)], 1), Err(EtcdError::NoSpace));
    assert_eq!(gate(&[(1, NOSPACE)], 0), Ok(()));
    assert_eq!(gate(&[(1, CORRUPT)], 0), Err(EtcdError::Corrupt));
    assert_eq!(gate(&[(1, NOSPACE), (2, CORRUPT)], 1), Err(EtcdError::Corrupt));
    assert_eq!(gate(&[(1, 9)], 1), Ok(()), "an unknown alarm forbids nothing");
}

#[test]
fn txn_costs_its_dearer_branch() {
    let put = |value: &'static [u8]| RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(value),
            ..Default::default()
        })),
    };
    let nested = |ops: Vec<RequestOp>| RequestOp {
        request: Some(request_op::Request::RequestTxn(TxnRequest {
            failure: ops,
            ..Default::default()
        })),
    };
    let txn = TxnRequest {
        success: vec![put(b"vv"), nested(vec![put(b"")])],
        failure: vec![put(b"v")],
        ..Default::default()
    };
    assert_eq!(txn_cost(&txn), (256 + 3) + (256 + 1));
    assert_eq!(txn_cost(&TxnRequest { success: vec![RequestOp::default()], ..txn }), 256 + 2);
}

use types::NodeId;

use super::*;

const LEASE: LeaseId = LeaseId(7);
const EXTEND: Duration = Duration::from_secs(1);

fn role(term: u64, is_leader: bool) -> RaftView {
    RaftView { term: Term(term), leader: NodeId(1), is_leader }
}

fn table() -> Table {
    let mut table = Table::new();
    table.restore(LEASE, 60, 0);
    table
}

/// A member that leads term 5 and has applied its first entry.
fn leading() -> (Leasing, watch::Sender<RaftView>) {
    let (leasing, raft) = (Leasing::new(), watch::Sender::new(role(5, true)));
    leasing.promote(&raft, Term(5), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Renewed(60)));
    (leasing, raft)
}

/// A lease that expires at once.
fn expire(leasing: &Leasing, raft: &watch::Sender<RaftView>) {
    leasing.applied(raft, &[Local::LeaseGranted { id: LEASE, ttl_seconds: 0 }]);
}

#[test]
fn deadlines_begin_with_the_first_entry_of_the_own_term() {
    let (leasing, raft) = (Leasing::new(), watch::Sender::new(role(5, true)));
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::NotLeading));
    leasing.promote(&raft, Term(4), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::NotLeading), "an older term's entry");
    leasing.promote(&raft, Term(5), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Renewed(60)));
    raft.send_replace(role(5, false));
    leasing.promote(&raft, Term(5), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::NotLeading), "another member's entry");
}

#[test]
fn a_second_empty_entry_of_a_term_changes_no_deadline() {
    let (leasing, raft) = leading();
    expire(&leasing, &raft);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Expired(_)));
    leasing.promote(&raft, Term(5), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Expired(_)));
    raft.send_replace(role(6, true));
    leasing.promote(&raft, Term(6), &table(), EXTEND);
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Renewed(60)), "the next term does");
}

#[test]
fn whoever_sees_the_new_role_sees_no_deadline() {
    // Lost and won again in a later term, with nobody looking in between.
    for role in [role(5, false), role(6, false), role(6, true)] {
        let (leasing, raft) = leading();
        expire(&leasing, &raft);
        leasing.check(&raft);
        raft.send_replace(role);
        assert_eq!(leasing.next_revoke(&raft), None);
        assert!(matches!(leasing.renew(&raft, LEASE), Attempt::NotLeading));
        assert_eq!(leasing.remaining_seconds(&raft, LEASE), None);
        assert_eq!(leasing.expiries(&raft), None);
        leasing.promote(&raft, Term(6), &table(), EXTEND);
        leasing.check(&raft);
        assert_eq!(leasing.next_revoke(&raft), None, "queued in an older term");
    }
}

#[tokio::test]
async fn renewals_of_an_expired_lease_wait_for_its_revoke_or_for_the_loss_of_the_role() {
    let (leasing, raft) = leading();
    expire(&leasing, &raft);
    let Attempt::Expired(mut revoked) = leasing.renew(&raft, LEASE) else { panic!("not expired") };
    leasing.check(&raft);
    assert_eq!(leasing.next_revoke(&raft), Some((Term(5), LEASE)));
    assert!(revoked.has_changed().is_ok_and(|changed| !changed));
    leasing.applied(&raft, &[Local::LeaseRevoked(LEASE)]);
    assert!(revoked.changed().await.is_err(), "the sender is gone");
    assert!(matches!(leasing.renew(&raft, LEASE), Attempt::Unknown));

    let (leasing, raft) = leading();
    expire(&leasing, &raft);
    let Attempt::Expired(mut revoked) = leasing.renew(&raft, LEASE) else { panic!("not expired") };
    raft.send_replace(role(6, false));
    leasing.check(&raft);
    assert!(revoked.changed().await.is_err());
}

//! The hash over the `key` bucket (peer-protocol.md 16); the transcript has more of them.

use mvcc::HashReply;
use types::{EtcdError, RevKey};

use crate::rows::Fixture;

fn hash(fixture: &Fixture, revision: i64) -> Result<HashReply, EtcdError> {
    fixture.store.hash_kv(revision, &fixture.rows).unwrap()
}

#[test]
fn known_hashes() {
    let mut fixture = Fixture::default();
    fixture.put("q", "r");
    let reply = HashReply { hash: 1_168_594_307, compact_revision: -1, hash_revision: 2 };
    assert_eq!(hash(&fixture, 0), Ok(reply));
    fixture.put("q", "s");
    assert_eq!(hash(&fixture, 2), Ok(reply));
    assert_ne!(hash(&fixture, 0).unwrap().hash, reply.hash);
}

#[test]
fn revisions_that_can_be_hashed() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("a", "2");
    fixture.put("b", "1");
    fixture.compact_fully(3);
    assert_eq!(hash(&fixture, 5), Err(EtcdError::FutureRev));
    assert_eq!(hash(&fixture, 2), Err(EtcdError::Compacted));
    assert_eq!(hash(&fixture, 3).unwrap().hash_revision, 3);
    assert_eq!(hash(&fixture, 0).unwrap(), hash(&fixture, 4).unwrap());
    assert_eq!(hash(&fixture, 0).unwrap().compact_revision, 3);
}

/// Members whose compactions have come to different points agree, and so does one that does not
/// keep the tombstone at the compacted revision.
#[test]
fn progress_of_compaction_does_not_show() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("b", "1");
    fixture.put("a", "2");
    let _ = fixture.delete("b", "");
    fixture.put("c", "1");
    fixture.compact(5).unwrap();
    let scheduled = hash(&fixture, 0).unwrap();
    let batch = fixture.rows.batch(RevKey::default(), 5, 1);
    let ops = fixture.store.compact_step(&batch, 5);
    fixture.rows.write(&ops);
    assert_eq!(hash(&fixture, 0), Ok(scheduled));
    let batch = fixture.rows.batch(RevKey::default(), 5, 9);
    let ops = fixture.store.compact_step(&batch, 5);
    fixture.rows.write(&ops);
    assert_eq!(hash(&fixture, 0), Ok(scheduled));
    assert!(fixture.rows.key.remove(&RevKey::new(5, 0)).is_some(), "the tombstone is kept");
    assert_eq!(hash(&fixture, 0), Ok(scheduled));
}

#[test]
fn a_store_compacted_to_nothing_has_the_hash_of_an_empty_one() {
    let empty = hash(&Fixture::default(), 0).unwrap().hash;
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    let _ = fixture.delete("a", "");
    fixture.compact(3).unwrap();
    assert_eq!(hash(&fixture, 0).unwrap().hash, empty, "with rows");
    let batch = fixture.rows.batch(RevKey::default(), 3, 1);
    let ops = fixture.store.compact_step(&batch, 3);
    fixture.rows.write(&ops);
    assert_eq!(fixture.rows.key.len(), 1);
    assert_eq!(hash(&fixture, 0).unwrap().hash, empty, "with the tombstone");
}

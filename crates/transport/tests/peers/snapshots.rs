//! Databases arrive whole or not at all.

use std::io;
use std::path::Path;

use disk::OpenMode;
use proto::raftpb::{Message, MessageType, Snapshot, SnapshotMetadata};
use transport::SnapshotBody;

use crate::support::{Member, SNAP_DIR, pair, until};

struct Image {
    bytes: Vec<u8>,
    /// Reading at or behind this offset fails.
    broken_at: Option<u64>,
}

impl SnapshotBody for Image {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.broken_at.is_some_and(|broken| offset >= broken) {
            return Err(io::Error::other("unreadable"));
        }
        let rest = &self.bytes[usize::try_from(offset).unwrap()..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn image(len: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(len).collect()
}

fn snapshot_message(from: &Member, to: &Member, index: u64) -> Message {
    let metadata = SnapshotMetadata { index, term: 2, ..SnapshotMetadata::default() };
    let snapshot = Some(Snapshot { data: vec![b'{'; 70_000].into(), metadata });
    Message { snapshot, ..from.message(to, MessageType::Snap, 2) }
}

fn files(member: &Member) -> Vec<String> {
    member.node.disk.disk().list(Path::new(SNAP_DIR)).unwrap()
}

#[tokio::test]
async fn several_mebibytes_arrive() {
    let (a, b) = pair().await;
    for (index, len) in [(0x1f, 5 * 1024 * 1024 + 17), (0x20, 0)] {
        let bytes = image(len);
        let message = snapshot_message(&a, &b, index);
        let body = Image { bytes: bytes.clone(), broken_at: None };
        let earlier = b.node.with(|seen| seen.messages.len());
        a.transport.send_snapshot(message.clone(), Box::new(body));
        assert_eq!(b.received(earlier + 1).await.last(), Some(&message));

        let name = format!("{index:016x}.snap.db");
        let path = Path::new(SNAP_DIR).join(&name);
        let file = b.node.disk.disk().open(&path, OpenMode::Read).unwrap();
        let mut stored = vec![0; len + 1];
        assert_eq!(file.read_at(0, &mut stored).unwrap(), len);
        assert_eq!(stored[..len], bytes);
        until(|| a.node.with(|seen| seen.snapshots.len() > earlier)).await;
    }
    assert_eq!(a.node.with(|seen| seen.snapshots.clone()), [(b.id, true); 2]);
    let (sender, receiver) = (a.transport.counters(), b.transport.counters());
    until(|| receiver[0].1.snapshots_in.count.value() == 2).await;
    assert_eq!(sender[0].1.snapshots_out.count.value(), 2);
    assert_eq!(sender[0].1.snapshots_out.under_way(), 0);
    assert_eq!(files(&b), ["000000000000001f.snap.db", "0000000000000020.snap.db"]);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn unreadable_image_leaves_nothing_behind() {
    let (a, b) = pair().await;
    let body = Image { bytes: image(2_000_000), broken_at: Some(1_000_000) };
    a.transport.send_snapshot(snapshot_message(&a, &b, 7), Box::new(body));
    until(|| a.node.with(|seen| seen.snapshots == [(b.id, false)])).await;
    assert!(a.node.with(|seen| seen.unreachable.contains(&b.id)));
    let counters = b.transport.counters();
    until(|| counters[0].1.snapshot_receive_failures.value() == 1).await;
    until(|| counters[0].1.snapshots_in.under_way() == 0).await;
    assert_eq!(counters[0].1.snapshots_in.count.value(), 0);
    assert_eq!(a.transport.counters()[0].1.snapshots_out.count.value(), 0);
    assert!(files(&b).is_empty());
    assert!(b.node.with(|seen| seen.messages.is_empty()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn full_disk_of_the_receiver_is_a_failure() {
    let (a, b) = pair().await;
    b.node.disk.set_space_limit(500_000);
    let body = Image { bytes: image(2_000_000), broken_at: None };
    a.transport.send_snapshot(snapshot_message(&a, &b, 7), Box::new(body));
    until(|| a.node.with(|seen| seen.snapshots == [(b.id, false)])).await;
    assert!(files(&b).is_empty());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn stranger_or_removed_peer_is_reported() {
    let (a, b) = pair().await;
    let image = || Box::new(Image { bytes: image(10), broken_at: None });
    let mut message = snapshot_message(&a, &b, 7);
    message.to = 0xdead;
    a.transport.send_snapshot(message, image());
    until(|| a.node.with(|seen| seen.snapshots.len() == 1)).await;
    // Removed before its task ran: the report comes all the same.
    a.transport.send_snapshot(snapshot_message(&a, &b, 7), image());
    a.transport.remove_peer(b.id);
    until(|| a.node.with(|seen| seen.snapshots.len() == 2)).await;
    assert_eq!(a.node.with(|seen| seen.snapshots[1]), (b.id, false));
    a.stop().await;
    b.stop().await;
}

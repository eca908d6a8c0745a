//! Messages and snapshots between members.
//!
//! Source:     `node::peer_api` (where a received database goes), peer-protocol.md 8.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use consensus::Input;
use disk::{Disk, OpenMode};
use proto::raftpb::{Message, MessageType};
use rand::Rng;
use types::NodeId;

use crate::Violation;
use crate::schedule::{Event, Life};
use crate::trace::fingerprint;
use crate::turn::Transfer;
use crate::world::World;

/// Bytes of one write of a received database.
const PIECE_BYTES: usize = 8 << 10;

impl World {
    pub(crate) fn send(&mut self, sender: Life, message: &Message) -> Result<(), Violation> {
        self.oracles.sent(message)?;
        let bytes = message.encode();
        self.trace.number(fingerprint(&bytes) ^ message.to);
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || {
            let Message { message_type, to, term, log_term, index, commit, reject, .. } = message;
            let count = message.entries.len();
            format!(
                "{}: {message_type:?} to {to:x} term {term} at {log_term}/{index} +{count} \
                 commit {commit} reject {reject}",
                sender.id
            )
        });
        let link = (NodeId(message.from), NodeId(message.to));
        let may_repeat = message.message_type != MessageType::Prop;
        let arrivals = self.network.fate(&mut self.rng, link, may_repeat);
        if arrivals.is_empty() && self.rng.random_bool(0.3) {
            let input = Box::new(Input::Unreachable(link.1));
            self.schedule.after(1_000, Event::Post(sender, input));
        }
        for delay_us in arrivals {
            self.schedule.after(delay_us, Event::Deliver(bytes.clone()));
        }
        Ok(())
    }

    /// A message arrives at a member, which may be down or may not talk to the sender any more.
    pub(crate) fn deliver(&mut self, bytes: Bytes) -> Result<(), Violation> {
        let message = Message::decode(bytes)
            .map_err(|error| Violation::new("codec", format!("message: {error}")))?;
        let Some(receiver) = self.members.get(&NodeId(message.to)) else { return Ok(()) };
        let Some(shell) = &receiver.shell else { return Ok(()) };
        let from = NodeId(message.from);
        if shell.machine().membership().removed.contains(&from) {
            if let Some(sender) = self.members.get(&from) {
                self.schedule.after(10_000, Event::Leave(sender.life()));
            }
            return Ok(());
        }
        let life = receiver.life();
        self.post(life, Input::Message(message))
    }

    /// A leader streams a database; the image is the pinned one, whatever it commits meanwhile.
    pub(crate) fn send_snapshot(
        &mut self,
        sender: Life,
        transfer: Transfer,
    ) -> Result<(), Violation> {
        self.oracles.sent(&transfer.message)?;
        let image = read_image(&transfer).map_err(|error| {
            Violation::new("fault", format!("{}: image for a snapshot: {error}", sender.id))
        });
        let image = match image {
            Ok(image) => image,
            Err(_) if self.is_excused(sender.id) => return Ok(()),
            Err(violation) => return Err(violation),
        };
        self.trace.bytes(&image);
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || {
            format!("{}: snapshot of {} bytes to {:x}", sender.id, image.len(), transfer.message.to)
        });
        let delay_us = self.network.delay_us(&mut self.rng) * 3;
        let message = Box::new(transfer.message);
        self.schedule.after(delay_us, Event::SnapshotArrives { sender, message, image });
        Ok(())
    }

    /// The image has come through; it is written beside its place.
    pub(crate) fn snapshot_arrives(
        &mut self,
        sender: Life,
        message: Box<Message>,
        image: &[u8],
    ) -> Result<(), Violation> {
        let to = NodeId(message.to);
        let fate = self.network.fate(&mut self.rng, (sender.id, to), false);
        let receiver = self.members.get(&to).filter(|it| it.shell.is_some());
        let Some(receiver) = receiver.filter(|_| !fate.is_empty()) else {
            return self.snapshot_sent(sender, to, false);
        };
        let Some(shell) = &receiver.shell else { return Ok(()) };
        let (temporary, _) = names(shell.snaps(), &message);
        let written = write_image(receiver.disk.disk().as_ref(), &temporary, image);
        let life = receiver.life();
        match written {
            Ok(()) => {
                let delay_us = self.rng.random_range(10..20_000);
                let received = Event::SnapshotReceived { sender, receiver: life, message };
                self.schedule.after(delay_us, received);
                self.after_step(life, Ok(()))
            }
            Err(error) => self.receiving_failed(sender, life, &error),
        }
    }

    /// It gets its name, and raft gets the message.
    pub(crate) fn snapshot_received(
        &mut self,
        sender: Life,
        life: Life,
        message: Message,
    ) -> Result<(), Violation> {
        let receiver = self.members.get(&life.id).filter(|it| it.life() == life);
        let Some(shell) = receiver.and_then(|it| it.shell.as_ref()) else {
            return self.snapshot_sent(sender, life.id, false);
        };
        let (temporary, target) = names(shell.snaps(), &message);
        let disk = shell.options.disk.clone();
        if let Err(error) = finish_image(disk.as_ref(), &temporary, &target) {
            return self.receiving_failed(sender, life, &error);
        }
        self.post(life, Input::Message(message))?;
        let is_told = !self.faults_last || self.rng.random_bool(0.9);
        self.snapshot_sent(sender, life.id, is_told)
    }

    fn snapshot_sent(&mut self, sender: Life, to: NodeId, ok: bool) -> Result<(), Violation> {
        self.post(sender, Input::SnapshotSent { to, ok })
    }

    /// A member that cannot store a database goes on without it.
    fn receiving_failed(
        &mut self,
        sender: Life,
        receiver: Life,
        error: &io::Error,
    ) -> Result<(), Violation> {
        if !self.is_excused(receiver.id) {
            let detail = format!("{}: receive database: {error}", receiver.id);
            return Err(Violation::new("fault", detail));
        }
        self.snapshot_sent(sender, receiver.id, false)?;
        self.after_step(receiver, Ok(()))
    }
}

fn read_image(transfer: &Transfer) -> Result<Vec<u8>, backend::EngineError> {
    let len = usize::try_from(transfer.view.image_len()).unwrap_or(0);
    let mut image = vec![0; len];
    let mut at = 0;
    while at < len {
        let got = transfer.view.read_image(at as u64, &mut image[at..])?;
        if got == 0 {
            break;
        }
        at += got;
    }
    image.truncate(at);
    Ok(image)
}

/// Where a database is written, and what it is called afterwards.
fn names(snaps: &wal::snap::SnapStore, message: &Message) -> (PathBuf, PathBuf) {
    let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let target = snaps.db_snapshot_path(index);
    (target.with_file_name(format!("tmp{:x}-{index:x}", message.from)), target)
}

fn write_image(disk: &dyn Disk, temporary: &Path, image: &[u8]) -> io::Result<()> {
    if disk.exists(temporary)? {
        disk.remove_file(temporary)?;
    }
    let file = disk.open(temporary, OpenMode::CreateNew)?;
    let mut at = 0;
    for piece in image.chunks(PIECE_BYTES) {
        file.write_at(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn finish_image(disk: &dyn Disk, temporary: &Path, target: &Path) -> io::Result<()> {
    disk.open(temporary, OpenMode::ReadWrite)?.sync_data()?;
    disk.rename(temporary, target)?;
    target.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
}

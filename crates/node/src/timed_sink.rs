//! The sink of received databases, with a look at the clock.
//!
//! Owns:       nothing.
//! Uses:       the sink that does the work; `counters`.
//! Never:      the bytes.
//! Invariants: only what was received whole is counted.
//! Source:     etcd's `snap/db.go`.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use proto::raftpb::Message;
use transport::sink::DiskSink;
use transport::{SnapshotSink, SnapshotWriter};

use crate::counters::Counters;

/// Times what another sink does.
pub(crate) struct TimedSink {
    pub(crate) sink: DiskSink,
    pub(crate) counters: Arc<Counters>,
}

impl SnapshotSink for TimedSink {
    fn begin(&self, message: &Message) -> io::Result<Box<dyn SnapshotWriter>> {
        let began = Instant::now();
        let writer = self.sink.begin(message)?;
        Ok(Box::new(TimedWriter { writer, counters: Arc::clone(&self.counters), began }))
    }
}

struct TimedWriter {
    writer: Box<dyn SnapshotWriter>,
    counters: Arc<Counters>,
    began: Instant,
}

impl SnapshotWriter for TimedWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.writer.write(piece)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { writer, counters, began } = *self;
        let received = Instant::now();
        writer.finish()?;
        counters.snap_db_syncs.observe(received.elapsed());
        counters.snap_db_saves.observe(began.elapsed());
        Ok(())
    }

    fn abort(self: Box<Self>) {
        self.writer.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use simdisk::SimDisk;

    use super::*;

    #[test]
    fn only_whole_databases_are_timed() {
        let disk = SimDisk::new(1).disk();
        let dir = Path::new("/snap");
        disk.create_dir_all(dir).unwrap();
        let counters = Arc::new(Counters::default());
        let sink = TimedSink { sink: DiskSink::new(disk, dir), counters: Arc::clone(&counters) };
        let begin = || {
            let mut writer = sink.begin(&Message::default()).unwrap();
            writer.write(b"piece").unwrap();
            writer
        };
        begin().abort();
        drop(begin());
        assert_eq!(counters.snap_db_saves.total().0, 0);
        begin().finish().unwrap();
        assert_eq!((counters.snap_db_saves.total().0, counters.snap_db_syncs.total().0), (1, 1));
    }
}

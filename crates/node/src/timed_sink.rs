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

//! The engine behind the overlay: one sorted batch in, pinned views out.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bolt::{Bolt, BoltError, SortedBatch};
use bytes::Bytes;
use disk::Disk;
use types::Bucket;

/// A failure of the engine. None of them is retried: the member stops (design.md 5).
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database file.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// The engine in memory was told to fail.
    #[error("memory engine failed")]
    Memory,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the file.
    pub total_bytes: u64,
    /// Bytes of pages in use.
    pub in_use_bytes: u64,
}

/// The one writer of the store; blocking, owned by the flusher thread.
pub trait Engine: Send {
    /// Writes a batch; durable when it returns.
    ///
    /// # Errors
    /// Those of the disk or of a damaged file; the engine refuses everything afterwards.
    fn commit(&mut self, batch: &SortedBatch) -> Result<(), EngineError>;

    /// Pins the state of the last commit.
    fn view(&self) -> Arc<dyn View>;

    /// Current sizes.
    fn sizes(&self) -> Sizes;
}

/// Sees rows as key and value, ascending, until it breaks.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A pinned state of the store; cheap to share, held as briefly as possible because it keeps pages
/// from being reused.
pub trait View: Send + Sync {
    /// One row.
    ///
    /// # Errors
    /// Those of reading the file.
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The rows at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// Those of reading the file.
    fn scan(&self, bucket: Bucket, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError>;

    /// Keys that cut a bucket into about so many parts of equal size, ascending; none when it is
    /// small.
    ///
    /// # Errors
    /// Those of reading the file.
    fn split(&self, bucket: Bucket, parts: usize) -> Result<Vec<Bytes>, EngineError> {
        let _unused = (bucket, parts);
        Ok(Vec::new())
    }

    /// Length in bytes of the database image that [`View::read_image`] serves.
    fn image_len(&self) -> u64;

    /// Reads a piece of a database file that holds exactly this view.
    ///
    /// # Errors
    /// Those of reading the file.
    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<usize, EngineError>;
}

/// The product's engine: a bbolt-format file.
pub struct BoltEngine {
    bolt: Bolt,
}

impl BoltEngine {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// [`BoltError::Locked`] when another process has it; those of the disk; a damaged file.
    pub fn open(disk: &dyn Disk, path: &Path, no_sync: bool) -> Result<Self, EngineError> {
        UncheckedEngine::open(disk, path, no_sync)?.check()
    }
}

/// The product's engine before the file was checked: its rows can be read, and that is all.
pub struct UncheckedEngine {
    bolt: bolt::Unchecked,
}

impl UncheckedEngine {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// [`BoltError::Locked`] when another process has it; those of the disk; a file that is damaged
    /// in its first pages.
    pub fn open(disk: &dyn Disk, path: &Path, no_sync: bool) -> Result<Self, EngineError> {
        let options = bolt::Options { no_sync, ..bolt::Options::default() };
        Ok(Self { bolt: bolt::Unchecked::create_or_open(disk, path, options)? })
    }

    /// The state of the last commit.
    #[must_use]
    pub fn view(&self) -> Arc<dyn View> {
        Arc::new(BoltView(self.bolt.view()))
    }

    /// Checks every page of the file.
    ///
    /// # Errors
    /// Those of the disk; a damaged file.
    pub fn check(self) -> Result<BoltEngine, EngineError> {
        Ok(BoltEngine { bolt: self.bolt.check()? })
    }
}

impl Engine for BoltEngine {
    fn commit(&mut self, batch: &SortedBatch) -> Result<(), EngineError> {
        Ok(self.bolt.commit(batch)?)
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(BoltView(self.bolt.view()))
    }

    fn sizes(&self) -> Sizes {
        let sizes = self.bolt.sizes();
        Sizes { total_bytes: sizes.total_bytes, in_use_bytes: sizes.in_use_bytes }
    }
}

struct BoltView(bolt::View);

impl View for BoltView {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.get(bucket.name(), key)?)
    }

    fn scan(&self, bucket: Bucket, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        Ok(self.0.scan(bucket.name(), from, visit)?)
    }

    fn split(&self, bucket: Bucket, parts: usize) -> Result<Vec<Bytes>, EngineError> {
        Ok(self.0.split(bucket.name(), parts)?)
    }

    fn image_len(&self) -> u64 {
        self.0.len()
    }

    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<usize, EngineError> {
        Ok(self.0.read_image(offset, buf)?)
    }
}

//! Threads for reads that take long or touch a file: a few for the whole member.
//!
//! Owns:       the places, and who waits for one.
//! Uses:       `tokio`'s blocking threads.
//! Never:      drops a read whose client still waits.
//! Invariants: no more reads run at one time than there are places, so that raft and apply always
//!             get their share of the processors; whoever waits longest goes first.
//! Source:     design.md 2 (readers).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use types::{EtcdError, limits};

/// The places of a member.
pub(crate) struct ReadThreads {
    places: Arc<Semaphore>,
}

impl ReadThreads {
    /// As many places as suit this machine.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_places(cores * limits::READ_THREADS_PER_CORE)
    }

    fn with_places(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)) }
    }

    /// Runs a read once it has a place; it is told when nobody waits for it any more.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&AtomicBool) -> Result<R, EtcdError> + Send + 'static,
    ) -> Result<R, EtcdError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| EtcdError::Stopped)?;
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let seen = Arc::clone(&wanted.0);
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&seen)
        });
        done.await.map_err(|_| EtcdError::Stopped)?
    }
}

/// Whether the answer is still waited for: false once this has been dropped.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Reads that last until the gate is opened, and how many are at it.
    #[derive(Default)]
    struct Gate {
        is_open: Mutex<bool>,
        opened: Condvar,
        inside: AtomicUsize,
        most: AtomicUsize,
    }

    impl Gate {
        fn pass(&self) {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            let is_open = self.is_open.lock().unwrap();
            drop(self.opened.wait_while(is_open, |open| !*open).unwrap());
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }

        fn open(&self) {
            *self.is_open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    #[tokio::test]
    async fn no_more_reads_run_than_there_are_places_and_all_come_to_their_end() {
        let (threads, gate) = (Arc::new(ReadThreads::with_places(2)), Arc::new(Gate::default()));
        let mut reads = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (threads, gate) = (Arc::clone(&threads), Arc::clone(&gate));
            reads.spawn(async move {
                let pass = move |_: &AtomicBool| {
                    gate.pass();
                    Ok(())
                };
                threads.run(pass).await
            });
        }
        while gate.inside.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        // All the others have asked for a place by now, in vain.
        assert_eq!(threads.places.available_permits(), 0);
        gate.open();
        while let Some(read) = reads.join_next().await {
            assert_eq!(read.unwrap(), Ok(()));
        }
        assert_eq!(gate.most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_keeps_its_place_until_it_has_ended() {
        let (threads, gate) = (Arc::new(ReadThreads::with_places(1)), Arc::new(Gate::default()));
        let (told, unwanted) = std::sync::mpsc::channel();
        let left = {
            let (threads, gate) = (Arc::clone(&threads), Arc::clone(&gate));
            tokio::spawn(async move {
                let read = move |wanted: &AtomicBool| {
                    gate.pass();
                    told.send(wanted.load(Ordering::Relaxed)).unwrap();
                    Ok(())
                };
                threads.run(read).await
            })
        };
        while gate.inside.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        left.abort();
        assert!(left.await.is_err());
        assert_eq!(threads.places.available_permits(), 0);
        gate.open();
        assert_eq!(threads.run(|_| Ok(7)).await, Ok(7));
        assert!(!unwanted.recv().unwrap());
    }
}

//! What others leave for one thread, which is woken only when it sleeps.
//!
//! Owns:       the content, and whether its thread sleeps.
//! Never:      a system call for a thread that is awake: it looks again before it sleeps.
//! Invariants: nothing put in is left lying while the thread sleeps, unless it was only left.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Content that many change and one thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State<T> {
    content: T,
    /// Whether the thread waits for the bell, and nobody has rung it yet.
    asleep: bool,
}

impl<T> Mailbox<T> {
    /// Changes the content and wakes the thread if it sleeps.
    pub(crate) fn put<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state.content);
        let ring = std::mem::take(&mut state.asleep);
        drop(state);
        if ring {
            self.bell.notify_one();
        }
        result
    }

    /// Looks at the content, or changes it for the thread to see when it wakes for another reason.
    pub(crate) fn leave<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock().content)
    }

    /// Waits until `take` returns something. It is told whether `deadline` has passed.
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&mut T, bool) -> Option<R>,
    ) -> R {
        let mut state = self.lock();
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let is_late = left.is_some_and(|left| left.is_zero());
            if let Some(taken) = take(&mut state.content, is_late) {
                return taken;
            }
            state.asleep = true;
            state = match left {
                Some(left) => match self.bell.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_put_arrives_whether_the_thread_sleeps_or_not() {
        const EACH: u64 = 20_000;
        let mailbox = Arc::new(Mailbox::<Vec<u64>>::default());
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        mailbox.put(|content| content.push(number));
                    }
                })
            })
            .collect();
        let mut sum = 0;
        let mut count = 0;
        while count < 3 * EACH {
            let taken = mailbox
                .wait(None, |content, _| (!content.is_empty()).then(|| std::mem::take(content)));
            count += taken.len() as u64;
            sum += taken.iter().sum::<u64>();
        }
        assert_eq!(sum, 3 * (EACH - 1) * EACH / 2);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }

    #[test]
    fn what_is_left_is_found_at_the_deadline() {
        let mailbox = Mailbox::<Vec<u64>>::default();
        mailbox.leave(|content| content.push(1));
        let deadline = Instant::now() + Duration::from_millis(5);
        let taken = mailbox
            .wait(Some(deadline), |content, is_late| is_late.then(|| std::mem::take(content)));
        assert_eq!(taken, [1]);
        assert!(Instant::now() >= deadline);
    }
}

//! When requests are sent, and which of them count.
//!
//! Invariants: pure: the clock is an argument, in ns since the load began. At a fixed rate a request
//!             is due by its number alone, however late those before it were.

use std::time::Duration;

use super::options::Length;
use crate::numbers::{float, nanos, whole};

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send a request; its latency counts from `due`.
    Send(Ticket),
    /// Nothing before this time.
    Wait(u64),
    /// The load is over.
    Over,
}

/// A request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// From when its latency counts.
    pub(super) due: u64,
    /// Whether it is one of those asked for; when time decides, what is answered in time counts.
    pub(super) counts: bool,
}

/// The plan of a load.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    warm_up: u64,
    length: Length,
    /// Of a fixed rate.
    interval: Option<f64>,
    /// Requests at the fixed rate so far.
    paced: u64,
    /// Requests in the window so far.
    measured: u64,
}

impl Schedule {
    /// Warm-up in ns; `rate` per second.
    pub(super) fn new(warm_up: Duration, length: Length, rate: Option<f64>) -> Self {
        let interval = rate.map(|rate| 1e9 / rate);
        Self { warm_up: nanos(warm_up), length, interval, paced: 0, measured: 0 }
    }

    /// When the window begins.
    pub(super) fn warm_up(&self) -> u64 {
        self.warm_up
    }

    /// When it ends, if that is a matter of time.
    pub(super) fn end(&self) -> Option<u64> {
        match self.length {
            Length::Time(length) => Some(self.warm_up + nanos(length)),
            Length::Requests(_) => None,
        }
    }

    /// Whether there is a fixed rate.
    pub(super) fn is_paced(&self) -> bool {
        self.interval.is_some()
    }

    /// What a sender does that is free now.
    pub(super) fn next(&mut self, now: u64) -> Next {
        let due = self.due(now);
        let is_over = match self.length {
            Length::Time(_) => self.end().is_some_and(|end| due >= end),
            Length::Requests(requests) => due >= self.warm_up && self.measured >= requests,
        };
        if is_over {
            return Next::Over;
        }
        if due > now {
            return Next::Wait(due);
        }
        if self.interval.is_some() {
            self.paced += 1;
        }
        let is_measured = due >= self.warm_up;
        if is_measured {
            self.measured += 1;
        }
        let counts = is_measured || matches!(self.length, Length::Time(_));
        Next::Send(Ticket { due, counts })
    }

    /// Time between two requests at a fixed rate; zero without.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(self.due_at(1))
    }

    /// When the request with this number is due at the fixed rate.
    pub(super) fn due_at(&self, number: u64) -> u64 {
        self.interval.map_or(0, |interval| whole(float(number) * interval))
    }

    /// How many requests are due at the fixed rate until now.
    pub(super) fn paced_until(&self, now: u64) -> u64 {
        let due = self.interval.map_or(0, |interval| whole(float(now) / interval) + 1);
        due.min(self.paced_total())
    }

    /// How many requests there are at the fixed rate, warm-up included.
    pub(super) fn paced_total(&self) -> u64 {
        let before =
            |time: u64| self.interval.map_or(0, |interval| whole((float(time) / interval).ceil()));
        match self.length {
            Length::Time(_) => before(self.end().unwrap_or(0)),
            Length::Requests(requests) => before(self.warm_up) + requests,
        }
    }

    /// When the next request is due.
    fn due(&self, now: u64) -> u64 {
        if self.is_paced() { self.due_at(self.paced) } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tally::Tally;

    const SECOND: u64 = 1_000_000_000;

    fn schedule(warm_up: u64, length: Length, rate: Option<f64>) -> Schedule {
        Schedule::new(Duration::from_nanos(warm_up), length, rate)
    }

    #[test]
    fn a_closed_loop_sends_at_once_until_time_is_over() {
        let mut schedule = schedule(SECOND, Length::Time(Duration::from_secs(2)), None);
        for now in [0, 5, SECOND, 3 * SECOND - 1] {
            assert_eq!(schedule.next(now), Next::Send(Ticket { due: now, counts: true }));
        }
        assert_eq!(schedule.next(3 * SECOND), Next::Over);
    }

    #[test]
    fn a_number_of_requests_counts_from_the_end_of_the_warm_up() {
        let mut schedule = schedule(SECOND, Length::Requests(2), None);
        for now in [0, 1, 2, SECOND, SECOND + 9] {
            let counts = now >= SECOND;
            assert_eq!(schedule.next(now), Next::Send(Ticket { due: now, counts }));
        }
        assert_eq!(schedule.next(SECOND + 10), Next::Over);
    }

    #[test]
    fn at_a_fixed_rate_latency_counts_from_when_a_request_was_due() {
        // 1000 per s; the server stands still from 0.1 s to 0.6 s and answers in 1 ms otherwise.
        // There is one sender, so all but one of the requests of the stall are sent late.
        let millis = 1_000_000;
        let mut schedule = schedule(0, Length::Time(Duration::from_secs(1)), Some(1000.0));
        let (mut now, mut tally) = (0, Tally::new());
        tally.begin(0);
        let mut requests = 0;
        loop {
            match schedule.next(now) {
                Next::Send(ticket) => {
                    let stalled = (100 * millis..600 * millis).contains(&now);
                    now = if stalled { 600 * millis } else { now + millis / 10 };
                    tally.answered(ticket, now);
                    requests += 1;
                }
                Next::Wait(until) => now = until,
                Next::Over => break,
            }
        }
        assert_eq!(requests, 1000);
        let latency = tally.latency();
        assert!((latency.max_us - 500_000.0).abs() < 2000.0, "{latency:?}");
        // Half of all were due during the stall: the median of a closed loop would be 100 us.
        assert!(latency.p50_us > 20_000.0, "{latency:?}");
        assert!(latency.p90_us > 350_000.0, "{latency:?}");
    }

    #[test]
    fn permits_come_when_requests_are_due() {
        let schedule = schedule(SECOND, Length::Time(Duration::from_secs(1)), Some(3.0));
        assert_eq!(schedule.paced_total(), 6);
        let until = [0, SECOND / 3 - 1, SECOND / 3 + 1, SECOND, 9 * SECOND];
        assert_eq!(until.map(|now| schedule.paced_until(now)), [1, 1, 2, 4, 6]);
        for number in 0..6 {
            assert_eq!(schedule.paced_until(schedule.due_at(number) + 1), number + 1);
        }
    }

    #[test]
    fn a_rate_and_a_number_of_requests_go_together() {
        let mut schedule = schedule(SECOND / 2, Length::Requests(3), Some(4.0));
        let mut sent = Vec::new();
        let mut now = 0;
        loop {
            match schedule.next(now) {
                Next::Send(ticket) => sent.push(ticket.due),
                Next::Wait(until) => now = until,
                Next::Over => break,
            }
        }
        let quarter = SECOND / 4;
        assert_eq!(sent, [0, quarter, 2 * quarter, 3 * quarter, 4 * quarter]);
        assert_eq!(schedule.paced_total(), 5);
    }
}

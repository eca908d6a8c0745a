//! What happened: requests, events, latencies, failures.
//!
//! Invariants: pure; memory does not grow with the number of requests.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::schedule::Ticket;
use crate::report::{FailureCount, Latency};

/// Latencies above this count as this, in ns: ten minutes.
const LATENCY_MAX: u64 = 600_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Different failure texts that are kept; later ones are counted together.
const FAILURES_MAX: usize = 10;
/// Length of a kept text.
const FAILURE_CHARS: usize = 200;
const OTHERS: &str = "other failures";

/// Counters of one process.
#[derive(Debug)]
pub(super) struct Tally {
    began: Option<u64>,
    ended: Option<u64>,
    requests: u64,
    events: u64,
    /// Answers at any time, to see whether there is progress.
    answers: u64,
    latencies: Histogram<u64>,
    failures: BTreeMap<String, u64>,
}

/// The same, to be sent to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    requests: u64,
    events: u64,
    window: u64,
    latencies: Vec<(u64, u64)>,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS)
            .expect("the bounds are those of a histogram");
        Self {
            began: None,
            ended: None,
            requests: 0,
            events: 0,
            answers: 0,
            latencies,
            failures: BTreeMap::new(),
        }
    }

    /// The window begins.
    pub(super) fn begin(&mut self, now: u64) {
        self.began = Some(now);
    }

    /// The window ends: what is answered from now on was slow, but is not counted.
    pub(super) fn end(&mut self, now: u64) {
        self.ended = Some(now);
    }

    /// Answers at any time.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// A request was answered rightly.
    pub(super) fn answered(&mut self, ticket: Ticket, now: u64) {
        self.counted(ticket);
        if self.began.is_some() {
            // Late ones as well: else a stall that outlives the window would not be seen.
            self.latencies.saturating_record(now.saturating_sub(ticket.due));
        }
    }

    /// A request was answered whose latency is that of its events.
    pub(super) fn counted(&mut self, ticket: Ticket) {
        self.answers += 1;
        if self.is_open() && ticket.counts {
            self.requests += 1;
        }
    }

    /// A watcher got an event of this age, when that is known.
    pub(super) fn event(&mut self, latency: Option<u64>) {
        self.answers += 1;
        if self.is_open() {
            self.events += 1;
            if let Some(latency) = latency {
                self.latencies.saturating_record(latency);
            }
        }
    }

    /// A request failed.
    pub(super) fn failed(&mut self, text: &str) {
        self.answers += 1;
        add_failure(&mut self.failures, text, 1);
    }

    /// Percentiles so far.
    #[cfg(test)]
    pub(super) fn latency(&self) -> Latency {
        latency(&self.latencies)
    }

    /// For the report.
    pub(super) fn counts(&self) -> Counts {
        let values = self.latencies.iter_recorded();
        let began = self.began.unwrap_or(0);
        Counts {
            requests: self.requests,
            events: self.events,
            window: self.ended.map_or(0, |ended| ended.saturating_sub(began)),
            latencies: values.map(|it| (it.value_iterated_to(), it.count_at_value())).collect(),
            failures: self.failures.clone(),
        }
    }

    fn is_open(&self) -> bool {
        self.began.is_some() && self.ended.is_none()
    }
}

impl Counts {
    /// Requests within the window.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Events within the window.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Its length in ns, the longest of all processes.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Adds those of another process.
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.events += other.events;
        self.window = self.window.max(other.window);
        self.latencies.extend(other.latencies);
        for (text, count) in other.failures {
            add_failure(&mut self.failures, &text, count);
        }
    }

    /// All failures.
    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Their kinds.
    pub(super) fn failures(&self) -> Vec<FailureCount> {
        let failures = self.failures.iter();
        failures.map(|(text, count)| FailureCount { text: text.clone(), count: *count }).collect()
    }

    /// Percentiles of all.
    pub(super) fn latency(&self) -> Latency {
        let mut all = Tally::new().latencies;
        for (value, count) in &self.latencies {
            all.saturating_record_n(*value, *count);
        }
        latency(&all)
    }
}

fn add_failure(failures: &mut BTreeMap<String, u64>, text: &str, count: u64) {
    let mut text: String = text.chars().take(FAILURE_CHARS).collect();
    if !failures.contains_key(&text) && failures.len() >= FAILURES_MAX {
        OTHERS.clone_into(&mut text);
    }
    *failures.entry(text).or_default() += count;
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let us = |nanos: u64| crate::numbers::float(nanos) / 1e3;
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    Latency {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: us(histogram.max()),
        mean_us: histogram.mean() / 1e3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts_but_late_answers_are_seen() {
        let mut tally = Tally::new();
        let ticket = Ticket { due: 0, counts: true };
        tally.answered(ticket, 9_000_000);
        tally.event(Some(9_000_000));
        tally.begin(10_000_000);
        tally.answered(ticket, 20_000_000);
        tally.end(30_000_000);
        tally.answered(ticket, 40_000_000);
        let counts = tally.counts();
        assert_eq!((counts.requests(), counts.events(), counts.window()), (1, 0, 20_000_000));
        let latency = counts.latency();
        assert!((latency.max_us - 40_000.0).abs() < 100.0, "{latency:?}");
        assert!((latency.p50_us - 20_000.0).abs() < 100.0, "{latency:?}");
        assert_eq!(tally.answers(), 4);
    }

    #[test]
    fn counts_of_processes_add_up() {
        let process = |latency: u64, failure: &str| {
            let mut tally = Tally::new();
            tally.begin(0);
            (0..100).for_each(|_| tally.answered(Ticket { due: 0, counts: true }, latency));
            tally.failed(failure);
            tally.end(1_000);
            let text = serde_json::to_string(&tally.counts()).unwrap();
            serde_json::from_str::<Counts>(&text).unwrap()
        };
        let mut all = process(1_000_000, "a");
        all.add(process(2_000_000, "a"));
        all.add(process(4_000_000, "b"));
        assert_eq!((all.requests(), all.failed()), (300, 3));
        assert_eq!(all.failures().len(), 2);
        let latency = all.latency();
        for (got, wanted) in [(latency.p50_us, 2000.0), (latency.max_us, 4000.0)] {
            assert!((got - wanted).abs() < wanted / 500.0, "{latency:?}");
        }
        assert!((latency.mean_us - 2333.3).abs() < 10.0, "{latency:?}");
    }

    #[test]
    fn failure_texts_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..1000 {
            tally.failed(&format!("{number}{}", "x".repeat(5000)));
        }
        let counts = tally.counts();
        assert_eq!(counts.failed(), 1000);
        assert!(counts.failures().len() <= FAILURES_MAX + 1);
        assert!(counts.failures().iter().all(|failure| failure.text.len() <= FAILURE_CHARS));
    }
}

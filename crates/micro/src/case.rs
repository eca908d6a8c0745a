//! What a case is.

use std::hint::black_box;

/// Work that is measured, as often as it is called.
pub type Run = Box<dyn FnMut()>;

/// One thing that is measured.
pub struct Case {
    /// Subject and detail, joined by a slash; no blanks.
    pub name: &'static str,
    /// What a figure is given per.
    pub unit: &'static str,
    /// Units in one run.
    pub units: u64,
    /// Runs that are counted under callgrind, where an instruction takes fifty times as long.
    pub runs: u64,
    /// Makes what a run works on.
    pub(crate) set_up: fn() -> Run,
}

impl Case {
    /// A case per request, one in each run.
    pub(crate) const fn of(name: &'static str, runs: u64, set_up: fn() -> Run) -> Self {
        Self { name, unit: "request", units: 1, runs, set_up }
    }

    /// The same with runs of many units.
    pub(crate) const fn per(mut self, units: u64, unit: &'static str) -> Self {
        self.units = units;
        self.unit = unit;
        self
    }

    /// Makes what a run works on, and runs it once, so that buffers have their size.
    #[must_use]
    pub fn prepare(&self) -> Run {
        let mut run = (self.set_up)();
        run();
        run
    }
}

/// Runs that callgrind counts: it starts at the entry of this function and stops at its end, which it
/// knows by name.
#[inline(never)]
pub fn counted_section(run: &mut Run, runs: u64) {
    for _ in 0..black_box(runs) {
        run();
    }
}

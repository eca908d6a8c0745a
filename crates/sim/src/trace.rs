//! The fingerprint of a run, and its last lines in words when someone wants to read them.

use std::collections::VecDeque;

/// Lines kept; a run has many more events than anyone reads.
const LINES_MAX: usize = 200_000;

/// Everything that happened, folded into one number.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: verbose.then(VecDeque::new) }
    }

    /// Folds in a fact.
    pub(crate) fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Folds in bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(fingerprint(bytes));
    }

    /// Adds a line; `text` is only made when lines are kept.
    pub(crate) fn line(&mut self, at_us: u64, text: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{:>10.3} {}", at_us as f64 / 1_000.0, text()));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default().into()
    }
}

/// A number for bytes, eight of them at a time.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

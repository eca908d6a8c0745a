//! What the parts of a request cost, one by one: measured in time by hand, in instructions by CI.
//!
//! ```text
//!   cases ──▶ benches/micro.rs   time of a run, under divan:   cargo bench -p micro
//!        └──▶ main.rs            instructions, under callgrind: cargo xtask instructions
//! ```
//!
//! Owns:       the list of cases and the small member that they run on.
//! Uses:       the product's own functions, composed as `node` composes them, on one thread.
//! Never:      sockets, other threads, a clock, random input: a run takes the same instructions each
//!             time, up to what a hash table with a random seed does.
//! Invariants: setting up is never a part of what is measured; each case checks what it gets back.
//! Source:     design.md 9; docs/decisions/0021-allocator-and-instructions.md.

mod case;
mod cases;

mod folder;
mod input;
mod member;

pub use case::{Case, Run, counted_section};
pub use cases::CASES;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::CASES;

    #[test]
    fn every_case_runs_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for case in CASES {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            assert!(!case.name.contains(char::is_whitespace), "{:?}", case.name);
            assert!(case.units > 0 && case.runs > 0, "{}", case.name);
            case.prepare()();
        }
    }
}

//! The lines of the v3 checklist that belong to KV, Watch and Lease, each a test named by its number.
//!
//! Owns:       servers that the items share; each item works below a prefix of its own.
//! Uses:       the gRPC client of this crate; our server, and with feature `real` Go's 3.5.1 for the
//!             items in which the releases agree, which shows that they tell the truth.
//! Invariants: items on the shared server take turns, so the revision moves by their own writes only.
//! Source:     api-v3.md 11: lines 1-96, 98-110, 133-135, 148 and 149.

mod alarms;
mod case;
mod cluster;
mod compaction;
mod leases;
mod options;
mod puts;
mod range_stream;
mod ranges;
mod requests;
mod txn_checks;
mod txns;
mod watch_progress;
mod watch_start;
mod watches;

/// Makes a test of each item. `both` are run against ours and, with feature `real`, against Go's
/// 3.5.1; `ours` are those in which 3.7 differs from it; `awaited` are run against Go alone until
/// ours can do what they are about. The word before the colon says where:
/// `shared` items take turns on one server, `alone` ones have a fresh one, others a special one.
macro_rules! items {
    (
        both { $($place:ident: $($name:ident),+;)* }
        ours { $($our_place:ident: $($our_name:ident),+;)* }
        $(awaited { $($late_place:ident: $($late_name:ident),+;)* })?
    ) => {
        mod ours {
            $($(
                #[test]
                fn $name() {
                    let program = e2e::Program::Ours;
                    super::super::case::Case::$place(program, stringify!($name), super::$name);
                }
            )+)*
            $($(
                #[test]
                fn $our_name() {
                    let (program, name) = (e2e::Program::Ours, stringify!($our_name));
                    super::super::case::Case::$our_place(program, name, super::$our_name);
                }
            )+)*
        }
        #[cfg(not(feature = "real"))]
        const _: &[fn(&mut super::case::Case)] = &[$($($($late_name),+),*)?];
        #[cfg(feature = "real")]
        mod go_351 {
            $($(
                #[test]
                fn $name() {
                    let program = e2e::Program::GoEtcd351;
                    super::super::case::Case::$place(program, stringify!($name), super::$name);
                }
            )+)*
            $($($(
                #[test]
                fn $late_name() {
                    let program = e2e::Program::GoEtcd351;
                    let (name, item) = (stringify!($late_name), super::$late_name);
                    super::super::case::Case::$late_place(program, name, item);
                }
            )+)*)?
        }
    };
}
use items;

//! The lines of the v2 checklist that belong to the keys API, each a test named by its number.
//!
//! Owns:       servers that the items share; each item works below a name of its own.
//! Uses:       plain HTTP; our server, and with feature `real` Debian's 3.4 for the same items, which
//!             shows that the items tell the truth.
//! Invariants: items on the shared server take turns, so the index moves by their own writes only.
//! Source:     the v2 API reference, section 10, lines 1-76 and 85.

mod case;
mod conditions;
mod directories;
mod keys;
mod listing;
mod members;
mod refresh;
mod ttl;
mod validation;
mod watch;
mod watch_history;

/// Makes a test of each item, against ours and, with feature `real`, against Debian's 3.4.
/// `shared` items take turns on one server, `alone` ones have a fresh one.
macro_rules! items {
    ($($place:ident: $($name:ident),+;)+) => {
        mod ours {
            use super::super::case::Case;
            $($(
                #[test]
                fn $name() {
                    Case::$place(e2e::Program::Ours, stringify!($name), super::$name);
                }
            )+)+
        }
        #[cfg(feature = "real")]
        mod go_34 {
            use super::super::case::Case;
            $($(
                #[test]
                fn $name() {
                    Case::$place(e2e::Program::GoEtcd34, stringify!($name), super::$name);
                }
            )+)+
        }
    };
}
use items;

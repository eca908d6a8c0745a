//! Measuring: what a server costs per request, and how it stands against others.
//!
//! Owns:       loads and the report of one; the servers that `compare` starts.
//! Uses:       `h2` and `hyper` directly, one thread per process of the generator; servers from
//!             outside: their sockets, `/metrics`, /proc; the claims and directories of `e2e`;
//!             messages of `proto`.
//! Never:      code of the server; `--unsafe-no-fsync`; a figure of a load in which a request failed
//!             without saying so.
//! Invariants: generator and servers are separate processes, so CPU is counted by the kernel.
//!             What is measured begins after the warm-up, for requests and CPU alike; a request
//!             counts only when its answer is right; equal seeds ask for equal keys.
//! Source:     issue 4, parts a and b; design.md 6.
//!
//! How to read the report of a load:
//! - *Server CPU per request* is the measure: user and system time of the server's threads within
//!   the window. It holds on a busy machine, where requests per second do not. Bind the server and
//!   the generator to a core each (`taskset`), and compare only runs of one machine.
//! - *Requests per second* mean little when the generator used its core up: look at its own CPU.
//!   `--processes` spreads it over several.
//! - A *closed loop* (no `--rate`) keeps connections x outstanding requests under way; a server that
//!   stalls is asked less, so its latencies are those of a server that is always saturated. At a
//!   *fixed rate* a latency counts from when the request was due, whether or not it could be sent
//!   then: that is what users of a stalled server see. Judge stalls and tails by the latter.
//! - Fewer requests under way make smaller batches: the figures of 100 x 10 and of 1 x 1 are
//!   different properties of a server.
//! - For watch loads a request is a write (or one catch-up), and latencies are those of events: from
//!   the write until a watcher had it. CPU per *event* is the figure ([`report::LoadReport::units`]).

pub mod compare;
pub mod load;
pub mod profile;
pub mod report;

mod numbers;
mod probe;

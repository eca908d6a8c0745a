//! Loopback addresses that no other test uses.
//!
//! Owns:       one claim socket per address handed out, held until the test ends.
//! Never:      127.0.0.1, or an address on which any of etcd's ports is taken.
//! Invariants: two tests, in one process or in two, never hold the same address.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The port whose binding is the claim. No server under test listens on it.
const CLAIM_PORT: u16 = 4999;
/// Ports that must be free on an address before it is handed out.
const ETCD_PORTS: [u16; 2] = [2379, 2380];
/// Addresses looked at before giving up.
const ATTEMPTS_MAX: u32 = 20_000;

/// Where the next test of this process begins to look.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The addresses of one test. They stay claimed until this is dropped.
#[derive(Debug, Default)]
pub struct Addresses {
    claims: Mutex<Vec<TcpListener>>,
}

impl Addresses {
    /// No address yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims one more address; ports 2379 and 2380 are free on it.
    ///
    /// # Panics
    /// When no address can be bound.
    pub fn claim(&self) -> Ipv4Addr {
        for _ in 0..ATTEMPTS_MAX {
            let host = candidate();
            if let Some(claim) = try_claim(host) {
                self.claims.lock().expect("no holder panics").push(claim);
                return host;
            }
        }
        panic!("no free loopback address found");
    }

    /// Claims `count` addresses.
    pub fn claim_many(&self, count: usize) -> Vec<Ipv4Addr> {
        (0..count).map(|_| self.claim()).collect()
    }
}

/// 127.16-127.x.y, starting at a place of this process's own.
fn candidate() -> Ipv4Addr {
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    let place = std::process::id().wrapping_mul(509).wrapping_add(step) % (112 * 256 * 254);
    let (block, last) = (place / 254, place % 254 + 1);
    let octet = |value: u32| u8::try_from(value % 256).unwrap_or(0);
    Ipv4Addr::new(127, octet(16 + block / 256), octet(block), octet(last))
}

fn try_claim(host: Ipv4Addr) -> Option<TcpListener> {
    let claim = TcpListener::bind((host, CLAIM_PORT)).ok()?;
    let is_free = ETCD_PORTS.iter().all(|port| TcpListener::bind((host, *port)).is_ok());
    is_free.then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_differ_and_hold() {
        let (one, two) = (Addresses::new(), Addresses::new());
        let mut hosts = one.claim_many(3);
        hosts.extend(two.claim_many(3));
        for host in &hosts {
            assert!(host.is_loopback() && *host != Ipv4Addr::LOCALHOST, "{host}");
            assert!(try_claim(*host).is_none(), "{host} claimed twice");
        }
        hosts.sort();
        hosts.dedup();
        assert_eq!(hosts.len(), 6);
    }
}

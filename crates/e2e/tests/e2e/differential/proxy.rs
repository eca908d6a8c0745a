//! A proxy that changes one byte behind or before a known text in what a server sends.
//!
//! Small replies come in one piece, so each piece is looked at by itself; lengths never change.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use e2e::Addresses;

/// Room for one piece: more than any reply of the scenarios.
const PIECE_BYTES: usize = 1 << 16;

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mutation {
    /// What it changes, for people.
    pub(super) name: &'static str,
    /// Text near the byte.
    pub(super) near: &'static [u8],
    /// Where the byte is, counted from the beginning of the text.
    pub(super) at: isize,
    /// Bits of it that are turned over.
    pub(super) bits: u8,
}

#[derive(Default)]
struct State {
    mutation: Mutex<Option<Mutation>>,
    hits: AtomicUsize,
    is_over: AtomicBool,
}

/// Stands before a server on an address of its own.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _addresses: Addresses,
}

impl Proxy {
    /// Before `server`; changes nothing yet.
    pub(super) fn start(server: SocketAddr) -> Self {
        let addresses = Addresses::new();
        let address = SocketAddr::from((addresses.claim(), server.port()));
        let listener = TcpListener::bind(address).expect("listen");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                serve(client, server, &shared);
            }
        });
        Self { address, state, _addresses: addresses }
    }

    /// Chooses what is changed from now on.
    pub(super) fn mutate(&self, mutation: Option<Mutation>) {
        *self.state.mutation.lock().expect("no holder panics") = mutation;
        self.state.hits.store(0, Ordering::Relaxed);
    }

    /// How often something was changed since then.
    pub(super) fn hits(&self) -> usize {
        self.state.hits.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, which looks at the flag.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(client: TcpStream, server: SocketAddr, state: &Arc<State>) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || copy(from_client, to_server, |_| ()));
    let state = Arc::clone(state);
    thread::spawn(move || copy(server, client, |piece| state.change(piece)));
}

fn copy(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8])) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        change(&mut buffer[..size]);
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    // The other direction may already be closed.
    let _ = to.shutdown(Shutdown::Write);
}

impl State {
    fn change(&self, piece: &mut [u8]) {
        let Some(mutation) = *self.mutation.lock().expect("no holder panics") else { return };
        let starts = 0..piece.len();
        let found: Vec<usize> =
            starts.filter(|start| piece[*start..].starts_with(mutation.near)).collect();
        for start in found {
            let byte = start.checked_add_signed(mutation.at).and_then(|at| piece.get_mut(at));
            if let Some(byte) = byte {
                *byte ^= mutation.bits;
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

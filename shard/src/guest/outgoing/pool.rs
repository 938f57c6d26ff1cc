//! Connections that are kept for the next request to the same host by the same artifact.
//!
//! Invariant: only a connection that is idle makes room for another. One whose response a guest has
//! not read to the end counts until it is closed, so a guest that holds responses reaches the bound.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hyper::client::conn::http1::SendRequest;
use vyr_core::digest::Digest;
use wasmtime_wasi_http::WasiBody;

use crate::clock;

/// What a connection may be used for again. Two artifacts never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) artifact: Digest,
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    idle_max: usize,
    idle_ns_max: u64,
    open: Rc<Cell<usize>>,
    open_max: usize,
}

struct Idle {
    key: Key,
    sender: SendRequest<WasiBody>,
    since_ns: u64,
}

/// Counts an open connection as long as it exists.
pub(super) struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pool {
    pub(super) fn new(open_max: usize, idle_max: usize, idle_ms_max: u64) -> Self {
        Self {
            idle: RefCell::default(),
            idle_max,
            idle_ns_max: idle_ms_max.saturating_mul(1_000_000),
            open: Rc::default(),
            open_max,
        }
    }

    /// A connection that is ready for a request; the one used last is used next.
    pub(super) fn take(&self, key: &Key) -> Option<SendRequest<WasiBody>> {
        self.end_old();
        let mut idle = self.idle.borrow_mut();
        let at = idle
            .iter()
            .rposition(|idle| idle.key == *key && idle.sender.is_ready())?;
        Some(idle.remove(at).sender)
    }

    /// Keeps a connection, which may still be busy with the body of its last response.
    pub(super) fn keep(&self, key: Key, sender: SendRequest<WasiBody>) {
        let since_ns = clock::monotonic_ns();
        self.idle.borrow_mut().push(Idle {
            key,
            sender,
            since_ns,
        });
        self.end_surplus();
    }

    /// Room for one connection more; the oldest idle one makes it if there is none.
    pub(super) fn open(&self) -> Option<Open> {
        if self.open.get() >= self.open_max {
            let mut idle = self.idle.borrow_mut();
            // It closes in a moment; the bound may be exceeded by those that do.
            let at = idle.iter().position(|idle| idle.sender.is_ready())?;
            idle.remove(at);
        }
        self.open.set(self.open.get() + 1);
        Some(Open(Rc::clone(&self.open)))
    }

    /// Ends connections that have waited too long or were closed by the other side.
    pub(super) fn end_old(&self) {
        let now_ns = clock::monotonic_ns();
        self.idle.borrow_mut().retain(|idle| {
            !idle.sender.is_closed() && now_ns.saturating_sub(idle.since_ns) <= self.idle_ns_max
        });
        self.end_surplus();
    }

    /// Ends the oldest idle connections beyond the bound.
    fn end_surplus(&self) {
        let mut idle = self.idle.borrow_mut();
        let ready = idle.iter().filter(|idle| idle.sender.is_ready()).count();
        let mut surplus = ready.saturating_sub(self.idle_max);
        idle.retain(|idle| {
            let ends = surplus > 0 && idle.sender.is_ready();
            surplus -= usize::from(ends);
            !ends
        });
    }
}

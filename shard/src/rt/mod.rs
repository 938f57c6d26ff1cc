//! The executor boundary: the only place that names glommio or tokio's runtime.
//!
//! One thread runs one executor ([`run`]); everything else here acts on the executor of the
//! calling thread. Two backends exist, chosen at run time by [`decide()`]: io_uring through glommio
//! (`uring`) and epoll through a tokio current-thread runtime (`epoll`).
//!
//! The backends supply four things only: run a future, spawn a task, say when a descriptor is
//! readable or writable, and wake at a time. Sockets, timers, yields and mailboxes are built on those
//! once, so both backends behave alike down to the error codes.
//!
//! Invariants:
//! - A task is never cancelled from outside; it ends by itself or when [`run`] returns. Time-outs
//!   and races happen inside one future.
//! - A panic in a spawned task ends that task only ([`panics`] counts them).
//! - The kernel never holds a buffer of ours: sockets are read and written by plain non-blocking
//!   system calls, so any future may be dropped at any await.
//! - A tokio handle is always entered on the executor's thread, so code that needs tokio's timers
//!   or blocking threads finds them.

mod blocking;
mod context;
mod decide;
mod epoll;
pub mod mailbox;
mod net;
mod readiness;
mod register;
mod ring;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod timer;
mod uring;

pub use blocking::unblock;
pub use decide::{Decision, ExecutorChoice, ExecutorKind, RtError, decide};
pub use net::{ListenOptions, TcpListener, UnixListener};
pub use stream::Stream;
pub use task::{panics, spawn, take_longest_turn};
pub use timer::{
    Elapsed, Sleep, YieldNow, YieldToIo, look_at_io, sleep, sleep_until, timeout, yield_now,
    yield_to_io,
};

use std::panic::resume_unwind;

/// How one executor is set up.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Which backend drives it, as found by [`decide()`].
    pub kind: ExecutorKind,
    /// The processor to pin the calling thread to while the executor runs.
    pub cpu: Option<usize>,
    /// The name of its helper threads.
    pub name: String,
}

/// Runs the future that `make` returns on the calling thread until it ends.
///
/// `make` is called inside the executor, so it may bind sockets and spawn. When the future ends,
/// every task still alive is dropped before this returns. A panic of the future (not of a spawned
/// task) unwinds out of this call.
///
/// The thread's processor affinity is restored on return.
pub fn run<T, F: Future<Output = T>>(
    config: &ExecutorConfig,
    make: impl FnOnce() -> F,
) -> Result<T, RtError> {
    if context::is_set() {
        return Err(RtError::Nested);
    }
    let affinity = blocking::Affinity::of_this_thread();
    let outcome = match config.kind {
        ExecutorKind::IoUring => uring::run(config, &affinity, make),
        ExecutorKind::Epoll => epoll::run(config, &affinity, make),
    };
    affinity.restore();
    outcome?.map_err(|panic| resume_unwind(panic))
}

/// Which backend drives the calling thread's executor.
///
/// # Panics
/// Outside of [`run`].
pub fn kind() -> ExecutorKind {
    context::with(|context| context.kind)
}

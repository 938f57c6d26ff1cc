//! Registering a descriptor with tokio.
#![expect(
    unsafe_code,
    reason = "tokio asks the caller to promise that the descriptor stays open"
)]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor for reading and writing.
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, names the same description for its whole life, and is closed
    // by nobody else; the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

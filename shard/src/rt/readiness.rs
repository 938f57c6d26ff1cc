//! A descriptor of which the executor says when it can be read or written.
//!
//! The operations themselves are non-blocking system calls made here. Both backends report changes
//! of readiness: one that took all there was is not tried again before the next change.

use super::context;
use super::{epoll, ring};
use rustix::io::Errno;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context as TaskContext, Poll, ready};
use tokio::io::unix::AsyncFdReadyGuard;

/// Which way data flows.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

/// What an operation found.
pub(super) enum Progress<T> {
    /// It was done, and there may be more.
    Done(T),
    /// It was done, and the next will have to wait.
    Drained(T),
}

/// A watched, non-blocking descriptor.
pub(super) enum Readiness {
    IoUring(ring::Watched),
    Epoll(epoll::Watched),
}

impl Readiness {
    /// Registers a descriptor, which must be non-blocking, with this thread's executor.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        context::with(|context| match &context.ring {
            Some(ring) => ring::Watched::new(ring, fd).map(Self::IoUring),
            None => epoll::Watched::new(fd).map(Self::Epoll),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::IoUring(watched) => watched.fd(),
            Self::Epoll(watched) => watched.fd(),
        }
    }

    /// Does `operation` when it can be done without blocking. One task at a time may wait in each
    /// direction.
    pub(super) fn poll_io<T>(
        &self,
        cx: &mut TaskContext<'_>,
        direction: Direction,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<Progress<T>, Errno>,
    ) -> Poll<io::Result<T>> {
        loop {
            let guard = match self {
                Self::IoUring(watched) => {
                    ready!(watched.poll_ready(cx, direction))?;
                    Guard::IoUring(watched, direction)
                }
                Self::Epoll(watched) => Guard::Epoll(ready!(watched.poll_ready(cx, direction))?),
            };
            match operation(self.fd()) {
                Ok(Progress::Done(value)) => return Poll::Ready(Ok(value)),
                Ok(Progress::Drained(value)) => {
                    guard.clear_ready();
                    return Poll::Ready(Ok(value));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// Does a read-like `operation` as soon as it can be done; any number of tasks may wait.
    pub(super) async fn read_io<T>(
        &self,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        loop {
            let guard = match self {
                Self::IoUring(watched) => {
                    poll_fn(|cx| watched.poll_ready(cx, Direction::Read)).await?;
                    Guard::IoUring(watched, Direction::Read)
                }
                Self::Epoll(watched) => Guard::Epoll(watched.readable().await?),
            };
            match operation(self.fd()) {
                Ok(value) => return Ok(value),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Readiness as it was found, to be taken back when an operation finds that it is over.
enum Guard<'a> {
    IoUring(&'a ring::Watched, Direction),
    Epoll(AsyncFdReadyGuard<'a, OwnedFd>),
}

impl Guard<'_> {
    fn clear_ready(self) {
        match self {
            Self::IoUring(watched, direction) => watched.clear_ready(direction),
            Self::Epoll(mut guard) => guard.clear_ready(),
        }
    }
}

//! A descriptor of which the executor says when it can be read or written.
//!
//! The operations themselves are non-blocking system calls made here. On io_uring that replaces
//! "try, wait, try again" by "wait, try": when the last read took all there was, the next one starts
//! with waiting. epoll's edge-triggered readiness gives the same.

use super::context;
use super::decide::ExecutorKind;
use super::{epoll, uring};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context as TaskContext, Poll};

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
pub(super) struct Readiness {
    backend: Backend,
    /// io_uring only: whether the next operation should wait first, by direction.
    wait_first: [bool; 2],
}

enum Backend {
    IoUring(uring::Watched),
    Epoll(epoll::Watched),
}

impl Readiness {
    /// Registers a descriptor, which must be non-blocking, with this thread's executor.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let backend = match context::with(|context| context.kind) {
            ExecutorKind::IoUring => Backend::IoUring(uring::Watched::new(fd)?),
            ExecutorKind::Epoll => Backend::Epoll(epoll::Watched::new(fd)?),
        };
        Ok(Self {
            backend,
            wait_first: [false; 2],
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.backend {
            Backend::IoUring(watched) => watched.fd(),
            Backend::Epoll(watched) => watched.fd(),
        }
    }

    /// Does `operation` when it can be done without blocking.
    pub(super) fn poll_io<T>(
        &mut self,
        cx: &mut TaskContext<'_>,
        direction: Direction,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<Progress<T>, Errno>,
    ) -> Poll<io::Result<T>> {
        match &mut self.backend {
            Backend::IoUring(watched) => {
                let wait_first = &mut self.wait_first[direction as usize];
                loop {
                    if *wait_first {
                        let ready = match direction {
                            Direction::Read => watched.poll_readable(cx),
                            Direction::Write => watched.poll_writable(cx),
                        };
                        match ready {
                            Poll::Pending => return Poll::Pending,
                            Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                            Poll::Ready(Ok(())) => *wait_first = false,
                        }
                    }
                    match operation(watched.fd()) {
                        Ok(Progress::Done(value)) => return Poll::Ready(Ok(value)),
                        Ok(Progress::Drained(value)) => {
                            *wait_first = true;
                            return Poll::Ready(Ok(value));
                        }
                        Err(Errno::AGAIN) => *wait_first = true,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Poll::Ready(Err(errno.into())),
                    }
                }
            }
            Backend::Epoll(watched) => {
                let fd = watched.async_fd();
                loop {
                    let ready = match direction {
                        Direction::Read => fd.poll_read_ready(cx),
                        Direction::Write => fd.poll_write_ready(cx),
                    };
                    let mut guard = match ready {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                        Poll::Ready(Ok(guard)) => guard,
                    };
                    match operation(watched.fd()) {
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
        }
    }

    /// Does a read-like `operation` through a shared reference; any number of tasks may wait.
    pub(super) async fn read_io<T>(
        &self,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        loop {
            match operation(self.fd()) {
                Ok(value) => return Ok(value),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
            match &self.backend {
                Backend::IoUring(watched) => watched.readable().await?,
                Backend::Epoll(watched) => {
                    let mut guard = watched.async_fd().readable().await?;
                    // Readiness may be older than the attempt above; clear it only when a new
                    // attempt finds nothing.
                    match operation(watched.fd()) {
                        Ok(value) => return Ok(value),
                        Err(Errno::INTR) => {}
                        Err(Errno::AGAIN) => guard.clear_ready(),
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
    }
}

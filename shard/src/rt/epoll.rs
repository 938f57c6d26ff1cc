//! The epoll backend: a tokio current-thread runtime.

use super::ExecutorConfig;
use super::blocking::{Affinity, pin, tokio_builder};
use super::context;
use super::decide::{ExecutorKind, RtError};
use super::readiness::Direction;
use super::register::register;
use super::{task, timer};
use futures_lite::FutureExt as _;
use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::runtime::LocalOptions;

/// Tasks run between two looks at the kernel. tokio's default of 61 suits tasks of microseconds; a
/// guest's slice is a millisecond.
const EVENT_INTERVAL_TASKS: u32 = 31;

/// Tasks run between two looks at what other threads woke.
const REMOTE_INTERVAL_TASKS: u32 = 7;

pub(super) fn run<T, F: Future<Output = T>>(
    config: &ExecutorConfig,
    affinity: &Affinity,
    make: impl FnOnce() -> F,
) -> Result<Result<T, Box<dyn Any + Send>>, RtError> {
    let runtime = tokio_builder(&config.name, affinity)
        .event_interval(EVENT_INTERVAL_TASKS)
        .global_queue_interval(REMOTE_INTERVAL_TASKS)
        .build_local(LocalOptions::default())?;
    pin(config.cpu)?;
    let (context, _entered) = context::enter(ExecutorKind::Epoll, None);
    let output = runtime.block_on(async {
        task::spawn_unguarded(&context, timer::drive(Rc::clone(&context)));
        let output = AssertUnwindSafe(async { make().await })
            .catch_unwind()
            .await;
        task::close(&context, async || tokio::task::yield_now().await).await;
        output
    });
    Ok(output)
}

pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(task));
}

/// The timer of the driver task.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Alarm {
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut TaskContext<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

/// One look at epoll. tokio wakes whoever yields after it.
#[derive(Default)]
pub(super) struct Turn {
    looking: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Turn {
    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let looking = self
            .looking
            .get_or_insert_with(|| Box::pin(tokio::task::yield_now()));
        looking.as_mut().poll(cx)
    }
}

/// A descriptor whose readiness epoll reports.
pub(super) struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        register(fd).map(Self)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }

    /// Waits until an operation may be tried; one task at a time in each direction.
    pub(super) fn poll_ready(
        &self,
        cx: &mut TaskContext<'_>,
        direction: Direction,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'_, OwnedFd>>> {
        match direction {
            Direction::Read => self.0.poll_read_ready(cx),
            Direction::Write => self.0.poll_write_ready(cx),
        }
    }

    /// Waits until it may be read; any number of tasks may wait.
    pub(super) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }
}

//! The io_uring backend: glommio, as republished under the name `glommio-ng` (0.12.0).
//!
//! # Why `glommio-ng` and not `glommio` 0.9.0
//! - It can report the readiness of any descriptor (`io::PollableFd`). So sockets are read, written
//!   and accepted by our own system calls ([`super::readiness`]): no cancelled `accept` can lose a
//!   socket, errors are not taken for the end of a stream, nothing is filled with zeros, and both
//!   backends share one implementation.
//! - It is maintained, and pure Rust: 0.9.0 builds liburing with a C compiler.
//! - Spawning does not take a process-wide lock, and task reference counts do not wrap at 32,767.
//!
//! # What is wrong in it, and what is done about it
//! - **Lost wake-ups** (in 0.9.0 as well). `LocalExecutor::run_task_queues` reports "nothing ran" when the preemption
//!   flag is up before the first task; its caller then parks over runnable tasks. The flag is
//!   raised by the preemption timer, so it takes a thread that lost its processor for longer than
//!   that timer, or by a wake from another thread that crosses one already handled. With a timer of
//!   5 ms, six test processes on two processors hung in most runs. So: the queue is not one where
//!   "latency matters" (its wakes raise the flag: single messages took 64 ms), the timer driver has
//!   a beat of 4 ms while tasks run, and the companion rings a bell every 50 ms. A lost wake-up
//!   costs such a time, not for ever. The repair in glommio is one line:
//!   `if self.need_preempt() { return true; }`. With it beat and bell can go.
//! - A parked task that is dropped leaks (measured on 0.9.0); so nothing is cancelled
//!   ([`super::task`]).
//! - Each poll of a pending timer or readiness adds an entry to it: a pending timer is polled once
//!   ([`super::timer`] holds one for all sleepers), a readiness is registered anew now and then.
//! - A poll for reading also asks for urgent data, which can be "there" with nothing to read:
//!   sockets take urgent data in line.
//!
//! # Cost
//! A tiny HTTP exchange, 32 connections, server pinned, spinning client on the other processor,
//! best of several on a shared machine (2 vCPU), CPU µs per request: tokio's own sockets 7.8, epoll
//! here 7.8, io_uring here 8.8 to 9.1, glommio's own sockets 8.8 to 9.5. A trial with the repair
//! above and `IORING_SETUP_COOP_TASKRUN` on both rings gave 8.8 to 9.0. The rest is glommio's turn:
//! it enters each ring to cancel and set two preemption timers per turn, whoever waits.

use super::blocking::{Affinity, Bell, Companion, pin};
use super::context::{self, Context};
use super::decide::{ExecutorKind, RtError, explain};
use super::{ExecutorConfig, task, timer};
use futures_lite::FutureExt as _;
use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;
use glommio::{GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};
use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

/// How long tasks that yield among themselves run before the executor looks at the kernel again.
///
/// A task that computes yields through [`yield_to_io`](super::yield_to_io), so this is the rare case.
/// A shorter time costs throughput and makes the lost wake-up below more likely.
const BUSY_SLICE: Duration = Duration::from_millis(10);

/// The beat of the timer driver while tasks run.
pub(super) const BEAT: Duration = Duration::from_millis(4);

/// How often the companion wakes the executor from outside.
const BELL_INTERVAL: Duration = Duration::from_millis(50);

/// A time in the future so near that it has come when the executor has looked at its I/O.
const ONE_TURN: Duration = Duration::from_micros(1);

/// After so many polls of a pending wait it is registered anew: each poll leaves an entry in it.
const POLLS_MAX: u32 = 32;

/// Why an executor's future did not end by itself.
type Panic = Box<dyn Any + Send>;

fn executor(name: &str) -> Result<LocalExecutor, RtError> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(0)
        .preempt_timer(BUSY_SLICE)
        .make()
        .map_err(|cause| match cause {
            GlommioError::IoError(cause) => explain(cause),
            other => RtError::IoUring(other.to_string()),
        })
}

/// Starts an executor and waits for a timer on it, to see whether io_uring works here.
pub(super) fn trial() -> Result<(), RtError> {
    executor("probe")?.run(async {
        Timer::new(ONE_TURN).await;
    });
    Ok(())
}

pub(super) fn run<T, F: Future<Output = T>>(
    config: &ExecutorConfig,
    affinity: &Affinity,
    make: impl FnOnce() -> F,
) -> Result<Result<T, Panic>, RtError> {
    // Made before pinning, so that glommio's helper thread is not pinned with this one.
    let executor = executor(&config.name)?;
    let companion = Companion::start(&config.name, affinity, BELL_INTERVAL)?;
    pin(config.cpu)?;
    let _tokio = companion.handle().enter();
    let (context, _entered) = context::enter(ExecutorKind::IoUring);
    let output = executor.run(async {
        // Not `Latency::Matters`: its wakes from other threads raise the preemption flag of a busy
        // executor, which is what loses wake-ups.
        let latency = Latency::NotImportant;
        let queue = glommio::executor().create_task_queue(Shares::default(), latency, "vyr");
        context.queue.set(Some(queue));
        task::spawn_unguarded(&context, timer::drive(Rc::clone(&context)));
        let bell = companion.bell();
        task::spawn_unguarded(&context, listen(Rc::clone(&context), bell.clone()));
        let output = AssertUnwindSafe(async { make().await })
            .catch_unwind()
            .await;
        task::close(&context, async || {
            bell.ring();
            glommio::executor().yield_task_queue_now().await;
            Timer::new(ONE_TURN).await;
        })
        .await;
        output
    });
    Ok(output)
}

/// Is woken by the bell and passes it on to the timer driver, which may have to begin its beat.
async fn listen(context: Rc<Context>, bell: Bell) {
    poll_fn(|cx| {
        if context.tasks.is_closing() {
            bell.detach();
            return Poll::Ready(());
        }
        bell.attach(cx.waker());
        context.timers.wake_driver();
        Poll::Pending
    })
    .await;
}

pub(super) fn spawn(context: &Rc<Context>, task: impl Future<Output = ()> + 'static) {
    let queue = context
        .queue
        .get()
        .expect("the queue is made before the first task");
    glommio::spawn_local_into(task, queue)
        .expect("the queue lives as long as the executor")
        .detach();
}

/// The timer of the driver task; polled by that task only.
#[derive(Default)]
pub(super) struct Alarm {
    timer: Option<(Instant, Timer)>,
}

impl Alarm {
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut TaskContext<'_>) -> Poll<()> {
        let now = Instant::now();
        if deadline <= now {
            self.timer = None;
            return Poll::Ready(());
        }
        // A pending glommio timer is polled once only: every poll adds an entry.
        if !matches!(&self.timer, Some((armed, _)) if *armed == deadline) {
            let mut timer = Timer::new(deadline - now);
            if Pin::new(&mut timer).poll(cx).is_ready() {
                self.timer = None;
                return Poll::Ready(());
            }
            self.timer = Some((deadline, timer));
        }
        Poll::Pending
    }
}

/// One look at the rings: a timer that is due at once fires after it.
#[derive(Default)]
pub(super) struct Turn {
    timer: Option<(Instant, Timer)>,
}

impl Turn {
    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if let Some((due, _)) = &self.timer {
            return if Instant::now() < *due {
                Poll::Pending
            } else {
                Poll::Ready(())
            };
        }
        let mut wait = ONE_TURN;
        loop {
            let mut timer = Timer::new(wait);
            let due = Instant::now() + wait;
            if Pin::new(&mut timer).poll(cx).is_pending() {
                self.timer = Some((due, timer));
                return Poll::Pending;
            }
            // The thread was interrupted and the time is over already: nothing was looked at.
            wait *= 2;
        }
    }
}

/// A descriptor whose readiness the ring reports.
pub(super) struct Watched {
    fd: PollableFd<OwnedFd>,
    read: Wait,
    write: Wait,
}

#[derive(Default)]
struct Wait {
    state: PollState,
    waker: Option<Waker>,
    polls: u32,
}

impl Watched {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let fd = PollableFd::new(fd).map_err(io_error)?;
        Ok(Self {
            fd,
            read: Wait::default(),
            write: Wait::default(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await.map_err(io_error)
    }

    pub(super) fn poll_readable(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.read
            .poll(cx, |cx, state| self.fd.poll_readable(cx, state))
    }

    pub(super) fn poll_writable(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.write
            .poll(cx, |cx, state| self.fd.poll_writable(cx, state))
    }
}

impl Wait {
    fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        poll: impl FnOnce(&mut TaskContext<'_>, &mut PollState) -> Poll<glommio::Result<(), ()>>,
    ) -> Poll<io::Result<()>> {
        if self.polls >= POLLS_MAX {
            *self = Self::default();
        }
        let known = self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        let ready = if known {
            // This task is woken by the entry it made before; the new one need not wake anyone.
            poll(&mut TaskContext::from_waker(Waker::noop()), &mut self.state)
        } else {
            self.waker = Some(cx.waker().clone());
            poll(cx, &mut self.state)
        };
        match ready {
            Poll::Pending => {
                self.polls += 1;
                Poll::Pending
            }
            Poll::Ready(result) => {
                self.polls = 0;
                self.waker = None;
                Poll::Ready(result.map_err(io_error))
            }
        }
    }
}

fn io_error(cause: GlommioError<()>) -> io::Error {
    match cause {
        GlommioError::IoError(cause) => cause,
        other => io::Error::other(other.to_string()),
    }
}

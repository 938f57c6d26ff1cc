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
//! - A one-shot poll per wait, on a ring whose completions interrupt the processor: with 32
//!   connections a third more CPU time per request than tokio. So readiness has a ring of its own
//!   ([`super::ring`]), glommio waits for that ring as for any descriptor, and its own rings are idle
//!   while requests come.

use super::blocking::{Affinity, Bell, Companion, pin};
use super::context::{self, Context};
use super::decide::{ExecutorKind, RtError, explain};
use super::ring::{self, Ring};
use super::{ExecutorConfig, task, timer};
use futures_lite::FutureExt as _;
use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;
use glommio::{GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};
use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
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

/// The longest time that glommio waits for its turn while our tasks are never idle.
const GLOMMIO_PAUSE_MAX: Duration = Duration::from_millis(1);

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

/// Starts an executor, waits for a timer on it and looks at a ring, to see whether io_uring works
/// here.
pub(super) fn trial() -> Result<(), RtError> {
    executor("probe")?.run(async {
        Timer::new(ONE_TURN).await;
    });
    let ring = Ring::new().map_err(explain)?;
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    one.set_nonblocking(true)?;
    let watched = ring::Watched::new(&ring, one.into())?;
    ring.look()?;
    ring.look()?;
    // A kernel older than 5.13 has no polls that report more than once.
    watched.check()?;
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
    let ring = Ring::new().map_err(explain)?;
    let (context, _entered) = context::enter(ExecutorKind::IoUring, Some(Rc::clone(&ring)));
    executor.run(async {
        // Not `Latency::Matters`: its wakes from other threads raise the preemption flag of a busy
        // executor, which is what loses wake-ups.
        let latency = Latency::NotImportant;
        let queue = glommio::executor().create_task_queue(Shares::default(), latency, "vyr");
        context.queue.set(Some(queue));
        let news = News::of(&ring)?;
        task::spawn_unguarded(&context, drive(Rc::clone(&context), Rc::clone(&ring), news));
        task::spawn_unguarded(&context, timer::drive(Rc::clone(&context)));
        let bell = companion.bell();
        task::spawn_unguarded(&context, listen(Rc::clone(&context), bell.clone()));
        let output = AssertUnwindSafe(async { make().await })
            .catch_unwind()
            .await;
        task::close(&context, async || {
            bell.ring();
            ring.wake_driver();
            // What the tasks let go of is given back.
            if let Err(error) = ring.look() {
                tracing::error!(%error, "the ring failed");
            }
            glommio::executor().yield_task_queue_now().await;
            Timer::new(ONE_TURN).await;
        })
        .await;
        Ok(output)
    })
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

/// One look at the ring: its driver is woken, and wakes the timers' driver after it.
#[derive(Default)]
pub(super) struct Turn {
    begun_at: Option<u64>,
}

impl Turn {
    pub(super) fn poll(&mut self, ring: &Ring) -> Poll<()> {
        match self.begun_at {
            Some(looks) if ring.looks() > looks => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                self.begun_at = Some(ring.looks());
                ring.wake_driver();
                Poll::Pending
            }
        }
    }
}

/// Looks at our ring whenever other tasks have run, for as long as that finds something; then
/// glommio waits until there is something again.
async fn drive(context: Rc<Context>, ring: Rc<Ring>, mut news: News) {
    let mut glommio = GlommioTurn::default();
    poll_fn(|cx| {
        if context.tasks.is_closing() {
            ring.set_driver(None);
            return Poll::Ready(());
        }
        ring.set_driver(Some(cx.waker()));
        if glommio.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let found = ring.look().unwrap_or_else(|error| {
            tracing::error!(%error, "the ring failed");
            false
        });
        if context.timers.has_yielded() {
            context.timers.wake_driver();
        }
        if !found && ring.may_wait() {
            if news.poll(cx).is_pending() {
                return Poll::Pending;
            }
            ring.quieten();
            glommio.done();
        }
        // Behind the tasks that were just woken.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits, by glommio, until our ring has news.
struct News {
    fd: PollableFd<OwnedFd>,
    state: PollState,
    polls: u32,
    waiting: bool,
}

impl News {
    fn of(ring: &Ring) -> io::Result<Self> {
        Ok(Self {
            fd: PollableFd::new(ring.bell()?).map_err(io_error)?,
            state: PollState::default(),
            polls: 0,
            waiting: false,
        })
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.polls >= POLLS_MAX {
            self.state = PollState::default();
            self.polls = 0;
            self.waiting = false;
        }
        let ready = if self.waiting {
            // The driver is woken by the entry it made before; the new one need not wake anyone.
            let mut nobody = TaskContext::from_waker(Waker::noop());
            self.fd.poll_readable(&mut nobody, &mut self.state)
        } else {
            self.fd.poll_readable(cx, &mut self.state)
        };
        self.waiting = ready.is_pending();
        if self.waiting {
            self.polls += 1;
            return Poll::Pending;
        }
        self.polls = 0;
        Poll::Ready(())
    }
}

/// Lets glommio look at its own rings now and then while our tasks leave it no pause: there are its
/// timers and the wakes from other threads.
struct GlommioTurn {
    last: Instant,
    timer: Option<(Instant, Timer)>,
}

impl Default for GlommioTurn {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            timer: None,
        }
    }
}

impl GlommioTurn {
    fn done(&mut self) {
        self.last = Instant::now();
    }

    /// Pending while a turn is due and has not been.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let now = Instant::now();
        if let Some((due, _)) = &self.timer {
            if now < *due {
                return Poll::Pending;
            }
            self.timer = None;
            self.last = now;
        }
        if now - self.last < GLOMMIO_PAUSE_MAX {
            return Poll::Ready(());
        }
        let mut wait = ONE_TURN;
        loop {
            // A timer that is due at once fires after glommio has looked at everything.
            let due = Instant::now() + wait;
            let mut timer = Timer::new(wait);
            if Pin::new(&mut timer).poll(cx).is_pending() {
                self.timer = Some((due, timer));
                return Poll::Pending;
            }
            // The thread was interrupted and the time is over already: nothing was looked at.
            wait *= 2;
        }
    }
}

fn io_error(cause: GlommioError<()>) -> io::Error {
    match cause {
        GlommioError::IoError(cause) => cause,
        other => io::Error::other(other.to_string()),
    }
}

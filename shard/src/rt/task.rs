//! Spawning: every task is detached, survives nobody's panic but its own, and is dropped before
//! [`run`](super::run) returns.

use super::context::{self, Context};
use super::decide::ExecutorKind;
use crate::clock;
use futures_lite::FutureExt as _;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How long [`run`](super::run) waits for the remaining tasks to be dropped.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// The tasks alive on one executor, by their wakers.
///
/// An executor that ends with parked tasks would leak them on glommio (each is held by the I/O it
/// waits for), and their sockets with them. So every task is woken once more at the end and drops
/// its future then.
#[derive(Default)]
pub(super) struct TaskTable {
    closing: Cell<bool>,
    live_count: Cell<usize>,
    polls: Cell<u64>,
    /// The longest poll of a task since somebody asked, nanoseconds.
    longest_poll_ns: Cell<u64>,
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl TaskTable {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// How often tasks were polled so far.
    pub(super) fn polls(&self) -> u64 {
        self.polls.get()
    }

    fn insert(&self, waker: Waker) -> usize {
        let mut slots = self.slots.borrow_mut();
        match slots.free.pop() {
            Some(slot) => {
                slots.wakers[slot] = Some(waker);
                slot
            }
            None => {
                slots.wakers.push(Some(waker));
                slots.wakers.len() - 1
            }
        }
    }

    fn remove(&self, slot: usize) {
        let mut slots = self.slots.borrow_mut();
        let waker = slots.wakers[slot].take();
        slots.free.push(slot);
        // Dropping a waker may run code of the executor; not under the borrow.
        drop(slots);
        drop(waker);
    }
}

/// Counts a task for as long as it exists, polled or not.
struct Live {
    context: Rc<Context>,
    slot: Cell<Option<usize>>,
}

impl Live {
    fn new(context: &Rc<Context>) -> Self {
        context
            .tasks
            .live_count
            .set(context.tasks.live_count.get() + 1);
        Self {
            context: Rc::clone(context),
            slot: Cell::new(None),
        }
    }

    fn register(&self, waker: &Waker) {
        if self.slot.get().is_none() {
            self.slot
                .set(Some(self.context.tasks.insert(waker.clone())));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let tasks = &self.context.tasks;
        if let Some(slot) = self.slot.get() {
            tasks.remove(slot);
        }
        tasks.live_count.set(tasks.live_count.get() - 1);
    }
}

/// Starts a task on this thread's executor and lets it go.
///
/// It first runs after the caller has yielded. A panic ends it, is counted and logged, and reaches
/// nobody else. Whatever is alive when [`run`](super::run) returns is dropped there.
///
/// # Panics
/// Outside of [`run`](super::run).
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    context::with(|context| {
        let task = guarded(Live::new(context), future);
        spawn_unguarded(context, task);
    });
}

/// Panics of spawned tasks in this process so far.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// The longest time since the last call for which one task kept this thread's executor to itself, to the
/// kernel's tick of a few milliseconds.
///
/// # Panics
/// Outside of [`run`](super::run).
pub fn take_longest_turn() -> Duration {
    context::with(|context| Duration::from_nanos(context.tasks.longest_poll_ns.take()))
}

/// Starts a task that looks after itself: it must not panic, and must end when closing.
pub(super) fn spawn_unguarded(context: &Rc<Context>, task: impl Future<Output = ()> + 'static) {
    match context.kind {
        ExecutorKind::IoUring => super::uring::spawn(context, task),
        ExecutorKind::Epoll => super::epoll::spawn(task),
    }
}

async fn guarded(live: Live, future: impl Future<Output = ()> + 'static) {
    // The future is moved into the caught block, so that a panic of its `Drop` is caught as well.
    let ended = AssertUnwindSafe(async {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if live.context.tasks.is_closing() {
                return Poll::Ready(());
            }
            live.context
                .tasks
                .polls
                .set(live.context.tasks.polls.get() + 1);
            live.register(cx.waker());
            let started_ns = clock::coarse_ns();
            let polled = future.as_mut().poll(cx);
            let longest_ns = &live.context.tasks.longest_poll_ns;
            longest_ns.set(longest_ns.get().max(clock::coarse_ns() - started_ns));
            polled
        })
        .await;
    })
    .catch_unwind()
    .await;
    if let Err(panic) = ended {
        PANICS.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            panic = panic_message(&*panic),
            "a task panicked and was ended"
        );
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// Ends every task: each is woken, sees that the executor closes, and drops its future.
///
/// `turn` lets the other tasks run.
pub(super) async fn close(context: &Rc<Context>, turn: impl AsyncFn()) {
    let tasks = &context.tasks;
    tasks.closing.set(true);
    let deadline = Instant::now() + CLOSE_TIME_MAX;
    loop {
        let wakers: Vec<Waker> = tasks
            .slots
            .borrow()
            .wakers
            .iter()
            .flatten()
            .cloned()
            .collect();
        wakers.into_iter().for_each(Waker::wake);
        context.timers.wake_driver();
        turn().await;
        if tasks.live_count.get() == 0 {
            break;
        }
        if Instant::now() > deadline {
            tracing::error!(
                tasks = tasks.live_count.get(),
                "tasks did not end with their executor"
            );
            break;
        }
    }
    // Once more, so that the descriptors they dropped are given back.
    turn().await;
}

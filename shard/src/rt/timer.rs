//! Timers and yields, the same on both backends.
//!
//! An executor keeps its sleepers in one ordered table. A driver task holds a single timer of the
//! backend, for the earliest of them; so creating, resetting and dropping a [`Sleep`] (which a
//! server does for every request and rarely lets expire) costs a table operation and no system call.
//!
//! glommio's own timers would not do: they are neither `Send` nor free of growth (each poll of a
//! pending one adds an entry that lives until its time), and after 256 at once they lose precision.

use super::context::{self, Context};
use super::decide::ExecutorKind;
use super::ring::Ring;
use super::{epoll, uring};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

/// A time no sleep outlives; it stands for "never" without overflowing an `Instant`.
const SLEEP_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The driver looks at the table at least this often while someone sleeps.
const DRIVER_SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Who sleeps until when, and who waits for a look at the I/O, in order.
#[derive(Default)]
pub(super) struct TimerTable {
    sleepers: RefCell<BTreeMap<Key, Waker>>,
    sequence: Cell<u64>,
    /// The time the driver will wake at by itself.
    alarm: Cell<Option<Instant>>,
    driver: RefCell<Option<Waker>>,
    yielded: RefCell<VecDeque<Waker>>,
    /// Tasks that have waited for a look at the I/O and went on; so the number of the first of `yielded`.
    released: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline: Instant,
    sequence: u64,
}

impl TimerTable {
    fn insert(&self, deadline: Instant, waker: &Waker) -> Key {
        let key = Key {
            deadline,
            sequence: self.sequence.get(),
        };
        self.sequence.set(key.sequence + 1);
        self.sleepers.borrow_mut().insert(key, waker.clone());
        if self.alarm.get().is_none_or(|alarm| deadline < alarm) {
            self.wake_driver();
        }
        key
    }

    /// Takes a sleeper out. The waker is for the caller to drop, outside of any borrow.
    fn remove(&self, key: Key) -> Option<Waker> {
        self.sleepers.borrow_mut().remove(&key)
    }

    fn update(&self, key: Key, waker: &Waker) -> bool {
        let mut sleepers = self.sleepers.borrow_mut();
        let Some(known) = sleepers.get_mut(&key) else {
            return false;
        };
        if known.will_wake(waker) {
            return true;
        }
        let old = std::mem::replace(known, waker.clone());
        drop(sleepers);
        drop(old);
        true
    }

    pub(super) fn wake_driver(&self) {
        let waker = self.driver.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes everyone whose time has come and tells the next time.
    fn fire(&self) -> Option<Instant> {
        loop {
            let mut sleepers = self.sleepers.borrow_mut();
            let first = sleepers.first_entry()?;
            let deadline = first.key().deadline;
            if deadline > Instant::now() {
                return Some(deadline);
            }
            let waker = first.remove();
            drop(sleepers);
            waker.wake();
        }
    }

    /// Whether someone waits for a look at the I/O.
    pub(super) fn has_yielded(&self) -> bool {
        !self.yielded.borrow().is_empty()
    }

    /// Joins those who wait for a look at the I/O. Tells the caller's number.
    fn join_yielded(&self, waker: &Waker) -> u64 {
        let mut yielded = self.yielded.borrow_mut();
        yielded.push_back(waker.clone());
        let waiting = yielded.len() as u64;
        drop(yielded);
        if waiting == 1 {
            self.wake_driver();
        }
        self.released.get() + waiting - 1
    }

    /// Lets the first of those who wait go on. Only one: the next computes after another look, so that
    /// what the I/O brings waits for one slice, however many compute.
    fn release(&self) {
        let first = self.yielded.borrow_mut().pop_front();
        if let Some(waker) = first {
            self.released.set(self.released.get() + 1);
            waker.wake();
        }
    }
}

/// The one task that waits for the backend's timer on behalf of all sleepers.
pub(super) async fn drive(context: Rc<Context>) {
    let timers = &context.timers;
    let mut turn: Option<Turn> = None;
    let mut alarm = Alarm::new(context.kind);
    let mut beat = Beat::default();
    poll_fn(|cx| {
        if context.tasks.is_closing() {
            timers.driver.borrow_mut().take();
            return Poll::Ready(());
        }
        if timers.driver.borrow().is_none() {
            *timers.driver.borrow_mut() = Some(cx.waker().clone());
        }
        while turn.is_some() || timers.has_yielded() {
            let looking = turn.get_or_insert_with(|| Turn::new(&context));
            if looking.poll(cx).is_pending() {
                break;
            }
            turn = None;
            timers.release();
        }
        loop {
            let now = Instant::now();
            let next = match (timers.fire(), beat.next(&context, now)) {
                (Some(sleeper), Some(beat)) => sleeper.min(beat),
                (Some(next), None) | (None, Some(next)) => next,
                (None, None) => break,
            };
            timers.alarm.set(Some(next));
            if alarm
                .poll_until(next.min(now + DRIVER_SLEEP_MAX), cx)
                .is_pending()
            {
                return Poll::Pending;
            }
        }
        timers.alarm.set(None);
        Poll::Pending
    })
    .await;
}

/// A timer that runs beside the sleepers' on io_uring while tasks run; [`uring`] tells why.
#[derive(Default)]
struct Beat {
    due: Option<Instant>,
    polls_seen: u64,
}

impl Beat {
    fn next(&mut self, context: &Context, now: Instant) -> Option<Instant> {
        if context.kind == ExecutorKind::Epoll {
            return None;
        }
        if self.due.is_none_or(|due| due <= now) {
            let polls = context.tasks.polls();
            self.due = (polls != self.polls_seen).then_some(now + uring::BEAT);
            self.polls_seen = polls;
        }
        self.due
    }
}

/// The backend's timer.
enum Alarm {
    IoUring(uring::Alarm),
    Epoll(epoll::Alarm),
}

impl Alarm {
    fn new(kind: ExecutorKind) -> Self {
        match kind {
            ExecutorKind::IoUring => Self::IoUring(uring::Alarm::default()),
            ExecutorKind::Epoll => Self::Epoll(epoll::Alarm::default()),
        }
    }

    fn poll_until(&mut self, deadline: Instant, cx: &mut TaskContext<'_>) -> Poll<()> {
        match self {
            Self::IoUring(alarm) => alarm.poll_until(deadline, cx),
            Self::Epoll(alarm) => alarm.poll_until(deadline, cx),
        }
    }
}

/// The backend's way of looking at its I/O once.
enum Turn {
    IoUring(uring::Turn, Rc<Ring>),
    Epoll(epoll::Turn),
}

impl Turn {
    fn new(context: &Context) -> Self {
        match &context.ring {
            Some(ring) => Self::IoUring(uring::Turn::default(), Rc::clone(ring)),
            None => Self::Epoll(epoll::Turn::default()),
        }
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        match self {
            Self::IoUring(turn, ring) => turn.poll(ring),
            Self::Epoll(turn) => turn.poll(cx),
        }
    }
}

/// A future that ends at a time. It may be moved between threads but must be polled on a thread
/// that runs an executor.
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    registered: Option<Registration>,
}

#[derive(Clone, Copy, Debug)]
struct Registration {
    context_id: u64,
    key: Key,
}

/// Ends after `duration`; at most 30 years.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration.min(SLEEP_MAX))
}

/// Ends at `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        registered: None,
    }
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the end, earlier or later, also after it was reached.
    ///
    /// A task that waits for it need not poll it again for an earlier end to count.
    pub fn reset(&mut self, deadline: Instant) {
        let waker = self.unregister();
        self.deadline = deadline;
        if let Some(waker) = waker {
            self.register(&waker);
        }
    }

    fn register(&mut self, waker: &Waker) {
        self.registered = context::with(|context| {
            Some(Registration {
                context_id: context.id,
                key: context.timers.insert(self.deadline, waker),
            })
        });
    }

    /// Takes the entry out of the table. One made on another thread stays there until its time.
    fn unregister(&mut self) -> Option<Waker> {
        let registration = self.registered.take()?;
        let context = context::current().filter(|context| context.id == registration.context_id)?;
        context.timers.remove(registration.key)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            self.unregister();
            return Poll::Ready(());
        }
        let known = self.registered.is_some_and(|registration| {
            context::with(|context| {
                context.id == registration.context_id
                    && context.timers.update(registration.key, cx.waker())
            })
        });
        if !known {
            self.register(cx.waker());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// The time was over before the future ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is over")]
pub struct Elapsed;

/// Gives a future at most `duration`. It is polled first, so one that is ready wins; when the time
/// is over it is dropped where it stands.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut end = sleep(duration);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut end).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// Lets the executor look at its I/O, its timers and its messages, and run every other ready task,
/// before the caller goes on. This is what a task with much to compute awaits between slices. Of
/// those who yield at the same time one goes on after each look, in order.
pub fn yield_to_io() -> YieldToIo {
    YieldToIo { begun: None }
}

/// The future of [`yield_to_io`].
#[derive(Debug)]
#[must_use = "a yield does nothing unless it is awaited"]
pub struct YieldToIo {
    /// The executor, and the caller's number among those who wait for a look.
    begun: Option<(u64, u64)>,
}

impl Future for YieldToIo {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        context::with(|context| {
            let timers = &context.timers;
            let Some((context_id, number)) = self.begun else {
                self.begun = Some((context.id, timers.join_yielded(cx.waker())));
                return Poll::Pending;
            };
            if context_id != context.id || number < timers.released.get() {
                return Poll::Ready(());
            }
            let ahead = number - timers.released.get();
            let mut yielded = timers.yielded.borrow_mut();
            if let Some(waker) = usize::try_from(ahead)
                .ok()
                .and_then(|at| yielded.get_mut(at))
            {
                waker.clone_from(cx.waker());
            }
            Poll::Pending
        })
    }
}

/// Lets the executor look at its I/O and its timers, and run every other ready task, before the caller goes on; it does not
/// wait for its turn among those who [yield to the I/O](yield_to_io).
pub async fn look_at_io() {
    context::with(|context| {
        if let Some(ring) = &context.ring {
            ring.wake_driver();
        }
        context.timers.wake_driver();
    });
    yield_now().await;
}

/// Lets the other tasks that are ready run before the caller goes on, without a look at the I/O.
pub fn yield_now() -> YieldNow {
    YieldNow { begun: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "a yield does nothing unless it is awaited"]
pub struct YieldNow {
    begun: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

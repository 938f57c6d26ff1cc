//! How a running guest is stopped, and how its time on the core is measured.
//!
//! A guest is never dropped from outside: whoever wants it to end sets a [`Stop`], and the future
//! that runs the guest ends itself, at its next poll or, when it computes, at the next epoch. The
//! first stop counts; later ones change nothing.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::lock;
use crate::clock::monotonic_ns;
use crate::ticker::SLICE_NS;

/// Why a guest is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    Cancelled = 1,
    ClientGone,
    Draining,
    WallTime,
    CpuTime,
    OutputFull,
    InputIncomplete,
}

impl Stop {
    const ALL: [Self; 7] = [
        Self::Cancelled,
        Self::ClientGone,
        Self::Draining,
        Self::WallTime,
        Self::CpuTime,
        Self::OutputFull,
        Self::InputIncomplete,
    ];
}

/// Shared by a task, its guest's store and the streams between them. All are of one shard, so the
/// atomics are never contended; they are there because wasmtime asks that a store can be sent.
#[derive(Debug)]
pub(crate) struct Control {
    stop: AtomicU8,
    waker: Mutex<Option<Waker>>,
    cpu_ns: AtomicU64,
    cpu_ns_max: u64,
    slice: Arc<Slice>,
    memory_peak_bytes: AtomicU64,
    /// The sum of memories that was refused; 0 when none was.
    memory_refused_bytes: AtomicU64,
}

/// The time for which the guest that has the core holds it already. One for a shard: its guests take turns.
/// Read by the thread that advances the epoch.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// Monotonic; 0 between slices.
    started_ns: AtomicU64,
    /// The slices of brief guests, together.
    brief_ns: AtomicU64,
}

impl Slice {
    /// How long the present slice lasts, nanoseconds; 0 between slices.
    pub(crate) fn length_ns(&self) -> u64 {
        match self.started_ns.load(Ordering::Relaxed) {
            0 => 0,
            started_ns => monotonic_ns().saturating_sub(started_ns),
        }
    }

    /// How long guests have held the core so far that have not computed for longer than a slice: the others take
    /// turns.
    pub(crate) fn brief_ns(&self) -> u64 {
        self.brief_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, brief_ns: u64) {
        self.brief_ns.fetch_add(brief_ns, Ordering::Relaxed);
    }
}

/// The guest was stopped; the reason is in its [`Control`].
#[derive(Debug, thiserror::Error)]
#[error("the guest was stopped")]
pub(crate) struct Stopped;

impl Control {
    pub(crate) fn new(cpu_ms_max: u64, slice: Arc<Slice>) -> Arc<Self> {
        Arc::new(Self {
            stop: AtomicU8::new(0),
            waker: Mutex::new(None),
            cpu_ns: AtomicU64::new(0),
            cpu_ns_max: cpu_ms_max.saturating_mul(1_000_000),
            slice,
            memory_peak_bytes: AtomicU64::new(0),
            memory_refused_bytes: AtomicU64::new(0),
        })
    }

    /// Ends the guest for this reason, unless it was stopped before.
    pub(crate) fn stop(&self, reason: Stop) {
        if self
            .stop
            .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
            && let Some(waker) = lock(&self.waker).take()
        {
            waker.wake();
        }
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        let value = self.stop.load(Ordering::Acquire);
        Stop::ALL.into_iter().find(|stop| *stop as u8 == value)
    }

    /// Completes when the guest is stopped. One waiter at a time: the task's own future.
    pub(crate) fn until_stopped(&self) -> impl Future<Output = Stop> + '_ {
        std::future::poll_fn(|context| match self.poll_stopped(context) {
            Some(stop) => Poll::Ready(stop),
            None => Poll::Pending,
        })
    }

    fn poll_stopped(&self, context: &Context<'_>) -> Option<Stop> {
        let stop = self.stopped();
        if stop.is_none() {
            let mut waker = lock(&self.waker);
            match waker.as_mut() {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        stop
    }

    /// Time the guest held the core, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }

    /// Highest sum of the guest's memories, bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }

    /// The sum of memories that the guest asked for and was refused, bytes.
    pub(crate) fn memory_refused_bytes(&self) -> Option<u64> {
        Some(self.memory_refused_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }

    pub(super) fn set_memory(&self, sum_bytes: u64, granted: bool) {
        let cell = if granted {
            &self.memory_peak_bytes
        } else {
            &self.memory_refused_bytes
        };
        cell.store(sum_bytes, Ordering::Relaxed);
    }

    /// At each epoch: whether the guest that runs has had its slice. An epoch may come when it has just begun, and who gives
    /// way waits for its turn among those who compute for long.
    pub(crate) fn check_slice(&self) -> Result<bool, Stopped> {
        let slice_ns = self.slice.length_ns();
        if self.cpu_ns() + slice_ns > self.cpu_ns_max {
            self.stop(Stop::CpuTime);
        }
        if self.stopped().is_some() {
            Err(Stopped)
        } else {
            Ok(slice_ns >= SLICE_NS / 2)
        }
    }

    fn enter_slice(&self) {
        let now_ns = monotonic_ns();
        self.slice.started_ns.store(now_ns, Ordering::Relaxed);
    }

    fn leave_slice(&self) {
        let slice_ns = self.slice.length_ns();
        self.slice.started_ns.store(0, Ordering::Relaxed);
        let before_ns = self.cpu_ns.fetch_add(slice_ns, Ordering::Relaxed);
        if before_ns < SLICE_NS {
            self.slice.count(slice_ns);
        }
    }
}

/// Runs a guest's future under its [`Control`]: ends it when stopped, measures its time, and
/// contains a panic in the host's side of it.
pub(crate) struct Guarded<F> {
    future: Option<Pin<Box<F>>>,
    control: Arc<Control>,
}

/// How a guarded future ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Completed(T),
    /// It was stopped; the reason is in the control.
    Stopped,
    /// The host panicked: a defect of VYR.
    Panicked(String),
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F, control: Arc<Control>) -> Self {
        Self {
            future: Some(Box::pin(future)),
            control,
        }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Ended<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.control.poll_stopped(context).is_some() {
            this.future = None;
            return Poll::Ready(Ended::Stopped);
        }
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(Ended::Stopped);
        };
        this.control.enter_slice();
        let result = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        this.control.leave_slice();
        let ended = match result {
            Ok(Poll::Pending) if this.control.stopped().is_none() => return Poll::Pending,
            Ok(Poll::Pending) => Ended::Stopped,
            Ok(Poll::Ready(output)) => Ended::Completed(output),
            Err(panic) => Ended::Panicked(panic_message(panic.as_ref())),
        };
        this.future = None;
        Poll::Ready(ended)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stop_counts() {
        let control = Control::new(1000, Arc::default());
        assert_eq!(control.stopped(), None);
        control.stop(Stop::WallTime);
        control.stop(Stop::Cancelled);
        assert_eq!(control.stopped(), Some(Stop::WallTime));
        assert!(control.check_slice().is_err());
    }

    #[test]
    fn who_has_just_begun_does_not_give_way() {
        let control = Control::new(1000, Arc::default());
        // The thread may be interrupted in between, but not each time.
        assert!((0..100).any(|_| {
            control.enter_slice();
            matches!(control.check_slice(), Ok(false))
        }));
        std::thread::sleep(std::time::Duration::from_nanos(SLICE_NS));
        assert!(matches!(control.check_slice(), Ok(true)));
    }

    #[test]
    fn every_stop_survives_its_number() {
        for stop in Stop::ALL {
            let control = Control::new(1000, Arc::default());
            control.stop(stop);
            assert_eq!(control.stopped(), Some(stop));
        }
    }

    #[test]
    fn a_panic_is_an_outcome() {
        let control = Control::new(1000, Arc::default());
        let guarded = Guarded::new(async { panic!("deliberate") }, control);
        let ended: Ended<()> = futures_lite::future::block_on(guarded);
        assert!(matches!(ended, Ended::Panicked(message) if message == "deliberate"));
    }

    #[test]
    fn a_waiting_future_ends_when_stopped() {
        let control = Control::new(1000, Arc::default());
        let guarded = Guarded::new(std::future::pending::<()>(), Arc::clone(&control));
        let stopper = std::thread::spawn(move || control.stop(Stop::Cancelled));
        assert!(matches!(
            futures_lite::future::block_on(guarded),
            Ended::Stopped
        ));
        stopper.join().expect("the thread only stops the control");
    }
}

//! Advances the engine's epoch about once a millisecond while a guest computes, so that one which
//! computes without end still gives way.
//!
//! Waking the thread costs some 15 µs of the core where it wakes. So while all guests are brief it only looks
//! every few milliseconds whether that is still so, and a guest that computes for long after such a time holds
//! the core for [`LOOK`] more, once.
//!
//! Invariant: while a [`Running`] exists the thread ticks or looks. It sleeps for good soon after the last
//! one is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crate::engine::Engine;
use crate::guest::Slice;

/// Length of one epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How long a guest computes before others have their turn, nanoseconds.
pub(crate) const SLICE_NS: u64 = TICK.as_nanos() as u64;
/// How often guests are looked at while none computes for longer than a tick.
const LOOK: Duration = Duration::from_millis(4);
/// Ticks without a guest that computes for longer than one after which the thread only looks.
const BRIEF_TICKS_MAX: u32 = 50;
/// Looks without a running guest after which the thread sleeps. Waking it costs a system call and
/// perhaps an interrupt, so a shard with a task now and then should not pay that per task.
const IDLE_LOOKS_MAX: u32 = 25;

struct Shared {
    running: AtomicUsize,
    slice: Arc<Slice>,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

/// The thread that advances the epoch.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Says that a guest runs, for as long as it exists.
pub(crate) struct Running {
    shared: Arc<Shared>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            slice: Arc::default(),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let handle = std::thread::Builder::new()
            .name("vyr-epoch".into())
            .spawn({
                let shared = Arc::clone(&shared);
                let engine = engine.wasmtime.clone();
                move || {
                    crate::cpu::leave_core();
                    tick(&shared, &engine);
                }
            })?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
    }

    /// What guests are to note their time on the core in.
    pub(crate) fn slice(&self) -> Arc<Slice> {
        Arc::clone(&self.shared.slice)
    }

    pub(crate) fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(shared: &Shared, engine: &wasmtime::Engine) {
    let tick_ns = u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX);
    let mut idle_looks = 0;
    let mut brief_ticks = BRIEF_TICKS_MAX;
    while !shared.stopped.load(Ordering::SeqCst) {
        if idle_looks > IDLE_LOOKS_MAX {
            shared.asleep.store(true, Ordering::SeqCst);
            // A guest that started before the store above did not see it: look once more.
            if shared.running.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst)
            {
                std::thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle_looks = 0;
        }
        let ticking = brief_ticks < BRIEF_TICKS_MAX;
        std::thread::sleep(if ticking { TICK } else { LOOK });
        let held_ns = shared.slice.length_ns();
        if ticking || held_ns >= tick_ns {
            engine.increment_epoch();
        }
        brief_ticks = match held_ns >= tick_ns / 2 {
            true => 0,
            false => BRIEF_TICKS_MAX.min(brief_ticks + 1),
        };
        idle_looks = match shared.running.load(Ordering::SeqCst) {
            0 => idle_looks + 1,
            _ => 0,
        };
    }
}

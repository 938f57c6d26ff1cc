//! Advances the engine's epoch about once a millisecond while guests run, so that a guest which
//! computes without end still gives way.
//!
//! Invariant: while a [`Running`] exists the thread ticks. It sleeps for good soon after the last
//! one is gone, because a ticking thread costs an idle machine about two per cent of a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crate::engine::Engine;

/// Length of one epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest after which the thread sleeps. Waking it costs a system call and
/// perhaps an interrupt, so a shard with a task now and then should not pay that per task.
const IDLE_TICKS_MAX: u32 = 100;

struct Shared {
    running: AtomicUsize,
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
    let mut idle_ticks = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) > 0 {
            idle_ticks = 0;
        } else {
            idle_ticks += 1;
        }
        if idle_ticks > IDLE_TICKS_MAX {
            shared.asleep.store(true, Ordering::SeqCst);
            // A guest that started before the store above did not see it: look once more.
            if shared.running.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst)
            {
                std::thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle_ticks = 0;
            continue;
        }
        std::thread::sleep(TICK);
        engine.increment_epoch();
    }
}

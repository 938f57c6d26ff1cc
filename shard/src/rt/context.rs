//! What belongs to the executor of the calling thread.

use super::decide::ExecutorKind;
use super::ring::Ring;
use super::task::TaskTable;
use super::timer::TimerTable;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state of one executor. It never leaves its thread.
pub(super) struct Context {
    /// Unique in the process, so that a timer polled elsewhere is noticed.
    pub(super) id: u64,
    pub(super) kind: ExecutorKind,
    pub(super) timers: TimerTable,
    pub(super) tasks: TaskTable,
    /// The queue glommio runs our tasks in; `None` on epoll.
    pub(super) queue: Cell<Option<glommio::TaskQueueHandle>>,
    /// What reports the readiness of descriptors; `None` on epoll.
    pub(super) ring: Option<Rc<Ring>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Removes the context when the executor has ended.
pub(super) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

/// Makes a context current on this thread.
pub(super) fn enter(kind: ExecutorKind, ring: Option<Rc<Ring>>) -> (Rc<Context>, Entered) {
    let context = Rc::new(Context {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        kind,
        timers: TimerTable::default(),
        tasks: TaskTable::default(),
        queue: Cell::new(None),
        ring,
    });
    CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&context)));
    (context, Entered)
}

pub(super) fn is_set() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Calls `f` with the context of this thread.
///
/// # Panics
/// Outside of an executor: there is nothing that could ever wake the caller.
pub(super) fn with<T>(f: impl FnOnce(&Rc<Context>) -> T) -> T {
    let context = current().expect("called outside of rt::run: this thread has no executor");
    f(&context)
}

/// The context of this thread, if it runs an executor.
pub(super) fn current() -> Option<Rc<Context>> {
    // `try_with`: a timer may be dropped while the thread itself is being torn down.
    CURRENT.try_with(|current| current.borrow().clone()).ok()?
}

//! Instances of HTTP guests: made for one task, or, when the artifact's manifest says so, used again.
//!
//! Invariant: an instance serves one task at a time, and only one whose call returned is used
//! again. One that trapped, was stopped or is still at work never is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use vyr_core::artifact::{InstancePolicy, Instances};
use vyr_core::limits::TaskLimits;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

use super::{Control, Guest, Kept};
use crate::clock;
use crate::state::Bound;
use crate::steps::Subject;

/// Tasks that one instance serves when the manifest does not say.
const TASKS_MAX: u32 = 1000;
/// Time an instance waits for its next task when the manifest does not say, milliseconds.
const IDLE_MS_MAX: u64 = 10_000;

/// An instance with the store it lives in.
pub(crate) struct HttpInstance {
    pub(crate) store: Store<Guest>,
    pub(crate) proxy: Proxy,
    tasks: u32,
    idle_since_ns: u64,
}

impl HttpInstance {
    /// An instance that is about to serve its first task.
    pub(crate) fn new(store: Store<Guest>, proxy: Proxy) -> Self {
        Self {
            store,
            proxy,
            tasks: 1,
            idle_since_ns: 0,
        }
    }

    /// Connects it with its next task.
    pub(crate) fn attach(
        &mut self,
        limits: &TaskLimits,
        control: &Arc<Control>,
        log: &Arc<Kept>,
        bound: Vec<(String, Bound)>,
        subject: Subject,
    ) {
        self.tasks += 1;
        self.store
            .data_mut()
            .attach(limits, control, log, bound, subject);
        self.store.set_epoch_deadline(1);
    }
}

/// Idle instances of all artifacts of a shard, counted.
pub(crate) struct IdleCount {
    count: Cell<usize>,
    max: usize,
}

impl IdleCount {
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self {
            count: Cell::new(0),
            max,
        })
    }

    pub(crate) fn get(&self) -> usize {
        self.count.get()
    }
}

/// The idle instances of one artifact. The one used last is used next, so that what is not needed
/// gets old.
pub(crate) struct IdleInstances {
    /// `None` when every task gets a fresh one.
    reuse: Option<Reuse>,
    instances: RefCell<Vec<HttpInstance>>,
    count: Rc<IdleCount>,
}

#[derive(Clone, Copy)]
struct Reuse {
    tasks_max: u32,
    idle_ns_max: u64,
}

impl IdleInstances {
    pub(crate) fn new(settings: Instances, count: &Rc<IdleCount>) -> Self {
        let reuse = Reuse {
            tasks_max: settings.tasks_max.unwrap_or(TASKS_MAX),
            idle_ns_max: settings
                .idle_ms_max
                .unwrap_or(IDLE_MS_MAX)
                .saturating_mul(1_000_000),
        };
        Self {
            reuse: (settings.policy == InstancePolicy::Reuse).then_some(reuse),
            instances: RefCell::default(),
            count: Rc::clone(count),
        }
    }

    pub(crate) fn take(&self) -> Option<HttpInstance> {
        let instance = self.instances.borrow_mut().pop()?;
        self.count.count.set(self.count.get() - 1);
        Some(instance)
    }

    /// Keeps an instance whose task is over for the next one, if it may serve one.
    pub(crate) fn give_back(&self, mut instance: HttpInstance) {
        let Some(reuse) = self.reuse else {
            return;
        };
        if instance.tasks >= reuse.tasks_max || self.count.get() >= self.count.max {
            return;
        }
        instance.store.data_mut().detach();
        instance.idle_since_ns = clock::coarse_ns();
        self.instances.borrow_mut().push(instance);
        self.count.count.set(self.count.get() + 1);
    }

    /// Ends the instances that have waited too long.
    pub(crate) fn end_old(&self) {
        let Some(reuse) = self.reuse else {
            return;
        };
        let now_ns = clock::monotonic_ns();
        let old: Vec<_> = {
            let mut instances = self.instances.borrow_mut();
            let kept_from = instances.partition_point(|instance| {
                now_ns.saturating_sub(instance.idle_since_ns) > reuse.idle_ns_max
            });
            instances.drain(..kept_from).collect()
        };
        self.count.count.set(self.count.get() - old.len());
    }
}

impl Drop for IdleInstances {
    fn drop(&mut self) {
        let left = self.instances.get_mut().len();
        self.count.count.set(self.count.get() - left);
    }
}

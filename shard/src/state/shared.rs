//! The states of a shard as its tasks and requests share them: the kernel in a cell, the ids of new
//! states, and the one task of the executor that frees what has ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use vyr_core::id::{ShardNumber, StateId, StateIdSource};
use vyr_core::limits::{STATE_FREE_STEP_BYTES, StateLimits};
use vyr_core::state::{self, Mode};

use super::call::{Call, Refused, Reply};
use super::error::StateError;
use super::other::{Leases, OtherShards};
use super::states::{Access, Binding, States, Usage};
use crate::{clock, rt};

/// The states of one shard. No call of it waits, but those that reach other shards.
pub struct SharedStates {
    shard: ShardNumber,
    pub(super) states: RefCell<States>,
    ids: RefCell<StateIdSource>,
    pub(super) leases: RefCell<Leases>,
    pub(super) others: OnceCell<Rc<dyn OtherShards>>,
    /// Leases that were asked of other shards.
    leases_asked: Cell<u64>,
    /// Something may have to be freed, or earlier than was planned.
    changed: Notify,
}

impl SharedStates {
    pub(crate) fn new(shard: ShardNumber, states: States, ids: StateIdSource) -> Rc<Self> {
        let shared = Rc::new(Self {
            shard,
            states: RefCell::new(states),
            ids: RefCell::new(ids),
            leases: RefCell::default(),
            others: OnceCell::new(),
            leases_asked: Cell::new(0),
            changed: Notify::new(),
        });
        rt::spawn(free(Rc::clone(&shared)));
        shared
    }

    /// The shard that owns them.
    pub(super) fn shard(&self) -> ShardNumber {
        self.shard
    }

    /// Creates an empty state.
    ///
    /// # Errors
    /// [`StateError::Exhausted`].
    pub fn create(&self, limits: StateLimits) -> Result<state::State, StateError> {
        let now_ns = clock::monotonic_ns();
        let id = self.ids.borrow_mut().next(SystemTime::now());
        let mut states = self.states.borrow_mut();
        states.create(id, limits.capped_by(&StateLimits::NODE_CAP), now_ns)?;
        self.changed.notify_one();
        states.describe(id, now_ns)
    }

    /// A state as clients see it.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn describe(&self, id: StateId) -> Result<state::State, StateError> {
        self.states.borrow().describe(id, clock::monotonic_ns())
    }

    /// States, newest first: at most `rows_max`, older than `before` if given.
    #[must_use]
    pub fn list(&self, before: Option<StateId>, rows_max: usize) -> Vec<state::State> {
        self.states
            .borrow()
            .list(before, rows_max, clock::monotonic_ns())
    }

    /// Deletes a state, bound or not.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn delete(&self, id: StateId) -> Result<(), StateError> {
        self.states
            .borrow_mut()
            .delete_state(id, clock::monotonic_ns())?;
        self.changed.notify_one();
        Ok(())
    }

    /// Does one operation for a client that knows the state's id.
    ///
    /// # Errors
    /// As the operation's.
    pub fn call_by_id(&self, id: StateId, call: Call) -> Result<Reply, Refused> {
        let mut states = self.states.borrow_mut();
        let access = states.open(id, Mode::Rw, clock::monotonic_ns())?;
        Ok(states.call(access, call)?)
    }

    /// Does one operation through a binding.
    pub(crate) fn call(&self, access: Access, call: Call) -> Result<Reply, Refused> {
        Ok(self.states.borrow_mut().call(access, call)?)
    }

    pub(super) fn bind(&self, id: StateId, mode: Mode) -> Result<Binding, StateError> {
        let now_ns = clock::monotonic_ns();
        self.states.borrow_mut().bind(id, mode, now_ns)
    }

    pub(super) fn unbind(&self, binding: Binding) {
        self.states
            .borrow_mut()
            .unbind(binding, clock::monotonic_ns());
        self.changed.notify_one();
    }

    pub(super) fn give_up(&self, binding: Binding) {
        self.states
            .borrow_mut()
            .give_up(binding, clock::monotonic_ns());
        self.changed.notify_one();
    }

    /// A number that no lease asked for by this process has had.
    pub(super) fn next_lease(&self) -> u64 {
        self.leases_asked.replace(self.leases_asked.get() + 1)
    }

    pub(super) fn lease_began(&self) {
        self.changed.notify_one();
    }

    /// What the states use now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.states.borrow().usage()
    }
}

/// Ends states whose time is over and frees what has ended, a step at a time between other tasks.
async fn free(shared: Rc<SharedStates>) {
    let shared = {
        let weak = Rc::downgrade(&shared);
        drop(shared);
        weak
    };
    loop {
        let Some(states) = shared.upgrade() else {
            return;
        };
        let now_ns = clock::monotonic_ns();
        let lease_ns = states.end_leases(now_ns);
        let next_ns = states
            .states
            .borrow_mut()
            .free_some(now_ns, STATE_FREE_STEP_BYTES);
        let next_ns = next_ns.into_iter().chain(lease_ns).min();
        if next_ns.is_some_and(|next_ns| next_ns <= now_ns) {
            drop(states);
            rt::yield_to_io().await;
            continue;
        }
        let wait = next_ns.map_or(Duration::from_secs(3600), |next_ns| {
            Duration::from_nanos(next_ns - now_ns)
        });
        // Whether it was woken or the time came makes no difference.
        let _ = rt::timeout(wait, states.changed.notified()).await;
    }
}

//! The tasks a shard knows: those that live, and those that ended not too long ago.
//!
//! Ended tasks are kept within bounds of count, bytes and age, and forgotten oldest first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use vyr_core::id::TaskId;
use vyr_core::limits::ShardLimits;

use super::Task;
use crate::clock;
use crate::guest::Stop;

pub(crate) struct Table {
    limits: ShardLimits,
    /// By id, and so by time of submission.
    tasks: RefCell<BTreeMap<TaskId, Rc<Task>>>,
    ended: RefCell<VecDeque<Ended>>,
    ended_bytes: Cell<u64>,
}

struct Ended {
    id: TaskId,
    ended_ns: u64,
    bytes: u64,
}

impl Table {
    pub(crate) fn new(limits: &ShardLimits) -> Self {
        Self {
            limits: *limits,
            tasks: RefCell::default(),
            ended: RefCell::default(),
            ended_bytes: Cell::new(0),
        }
    }

    pub(crate) fn insert(&self, task: Rc<Task>) {
        self.tasks.borrow_mut().insert(task.id, task);
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<Rc<Task>> {
        self.tasks.borrow().get(&id).cloned()
    }

    /// Newest first, older than `before` if given.
    pub(crate) fn newest(&self, before: Option<TaskId>, mut visit: impl FnMut(&Rc<Task>) -> bool) {
        let tasks = self.tasks.borrow();
        let range = match before {
            Some(before) => tasks.range(..before),
            None => tasks.range(..),
        };
        for (_, task) in range.rev() {
            if !visit(task) {
                return;
            }
        }
    }

    /// Counts an ended task against the bounds and forgets what exceeds them.
    pub(crate) fn ended(&self, task: &Task) {
        let ended = Ended {
            id: task.id,
            ended_ns: clock::monotonic_ns(),
            bytes: task.kept_bytes(),
        };
        self.ended_bytes.set(self.ended_bytes.get() + ended.bytes);
        self.ended.borrow_mut().push_back(ended);
        self.forget();
    }

    /// Forgets ended tasks beyond the bounds.
    pub(crate) fn forget(&self) {
        let mut ended = self.ended.borrow_mut();
        let now = clock::monotonic_ns();
        let age_max_ns = self.limits.finished_ms_max.saturating_mul(1_000_000);
        while let Some(oldest) = ended.front() {
            let fits = ended.len() <= self.limits.finished_max
                && self.ended_bytes.get() <= self.limits.finished_bytes_max
                && now - oldest.ended_ns <= age_max_ns;
            if fits {
                return;
            }
            self.ended_bytes.set(self.ended_bytes.get() - oldest.bytes);
            self.tasks.borrow_mut().remove(&oldest.id);
            ended.pop_front();
        }
    }

    /// Stops every task that has not ended.
    pub(crate) fn stop_all(&self, reason: Stop) {
        for task in self.tasks.borrow().values() {
            if !task.status().is_terminal() {
                task.control.stop(reason);
            }
        }
    }

    /// Ended tasks that are kept.
    pub(crate) fn ended_len(&self) -> usize {
        self.ended.borrow().len()
    }

    /// Output and log bytes of ended tasks that are kept.
    pub(crate) fn ended_bytes(&self) -> u64 {
        self.ended_bytes.get()
    }
}

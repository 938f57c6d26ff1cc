//! The tasks a shard knows: those that live, and those that ended not too long ago.
//!
//! Ended tasks are kept within bounds of count, bytes and age, and forgotten oldest first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use vyr_core::id::TaskId;
use vyr_core::limits::ShardLimits;
use vyr_core::task::Kind;

use super::Task;
use crate::clock;
use crate::guest::Stop;

pub(crate) struct Table {
    limits: ShardLimits,
    /// By id, and so by time of submission.
    tasks: RefCell<BTreeMap<TaskId, Rc<Task>>>,
    ended_commands: RefCell<VecDeque<Ended>>,
    ended_http: RefCell<VecDeque<Ended>>,
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
            ended_commands: RefCell::default(),
            ended_http: RefCell::default(),
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
    pub(crate) fn ended(&self, task: &Task, ended_ns: u64) {
        let ended = Ended {
            id: task.id,
            ended_ns,
            bytes: task.kept_bytes(),
        };
        self.ended_bytes.set(self.ended_bytes.get() + ended.bytes);
        self.ended_of(task.kind).borrow_mut().push_back(ended);
        self.forget_before(ended_ns);
    }

    /// Forgets ended tasks beyond the bounds.
    pub(crate) fn forget(&self) {
        self.forget_before(clock::monotonic_ns());
    }

    /// HTTP tasks go first when there are too many bytes: nobody waits for them any more.
    fn forget_before(&self, now_ns: u64) {
        let age_max_ns = self.limits.finished_ms_max.saturating_mul(1_000_000);
        for (kind, count_max) in [
            (Kind::Http, self.limits.finished_http_max),
            (Kind::Command, self.limits.finished_max),
        ] {
            let mut ended = self.ended_of(kind).borrow_mut();
            while let Some(oldest) = ended.front() {
                let fits = ended.len() <= count_max
                    && self.ended_bytes.get() <= self.limits.finished_bytes_max
                    && now_ns.saturating_sub(oldest.ended_ns) <= age_max_ns;
                if fits {
                    break;
                }
                self.ended_bytes.set(self.ended_bytes.get() - oldest.bytes);
                self.tasks.borrow_mut().remove(&oldest.id);
                ended.pop_front();
            }
        }
    }

    fn ended_of(&self, kind: Kind) -> &RefCell<VecDeque<Ended>> {
        match kind {
            Kind::Command => &self.ended_commands,
            Kind::Http => &self.ended_http,
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
        self.ended_commands.borrow().len() + self.ended_http.borrow().len()
    }

    /// Output and log bytes of ended tasks that are kept.
    pub(crate) fn ended_bytes(&self) -> u64 {
        self.ended_bytes.get()
    }
}

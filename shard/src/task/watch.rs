//! Ends tasks at their wall-time limit.
//!
//! One timer looks at all running tasks a hundred times a second instead of one timer per task:
//! there are at most a few hundred, and a timer per request costs more than the look.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use vyr_core::id::TaskId;

use super::Task;
use crate::clock;
use crate::guest::Stop;
use crate::rt;

/// How precisely the limit is kept.
const PERIOD: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Watch {
    /// In no order. Nearly always the one that ends is among the last that began.
    running: RefCell<Vec<Rc<Task>>>,
    active: Cell<bool>,
}

impl Watch {
    pub(crate) fn running_len(&self) -> usize {
        self.running.borrow().len()
    }

    /// Shows every task that runs.
    pub(crate) fn visit(&self, visit: impl FnMut(&Rc<Task>)) {
        self.running.borrow().iter().for_each(visit);
    }

    /// Watches a task that was set running, until [`Watch::remove`].
    pub(crate) fn add(self: &Rc<Self>, task: &Rc<Task>) {
        self.running.borrow_mut().push(Rc::clone(task));
        if !self.active.replace(true) {
            rt::spawn(Rc::clone(self).look());
        }
    }

    pub(crate) fn remove(&self, id: TaskId) {
        let mut running = self.running.borrow_mut();
        if let Some(at) = running.iter().rposition(|task| task.id == id) {
            running.swap_remove(at);
        }
    }

    async fn look(self: Rc<Self>) {
        while self.running_len() > 0 {
            rt::sleep(PERIOD).await;
            let now = clock::monotonic_ns();
            for task in self.running.borrow().iter() {
                let deadline = task
                    .started_ns
                    .get()
                    .saturating_add(task.limits.wall_ms_max.saturating_mul(1_000_000));
                if now >= deadline {
                    task.control.stop(Stop::WallTime);
                }
            }
        }
        self.active.set(false);
    }
}

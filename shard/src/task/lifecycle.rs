//! The steps every task takes, whatever its kind: its turn, running, one end.

use std::cell::Cell;
use std::rc::Rc;

use futures_lite::future::or;
use vyr_core::problem::Code;

use super::{Outcome, Task};
use crate::admission::{Ticket, Turn};
use crate::clock;
use crate::guest::{Ended, Stop};
use crate::shard::Shard;
use crate::ticker;

/// A task that runs. It ends by [`Running::finish`]; dropped before, it ends as abandoned, so that
/// no way out leaves a task without its terminal status.
pub(crate) struct Running {
    shard: Rc<Shard>,
    task: Rc<Task>,
    finished: Cell<bool>,
    _turn: Turn,
    _ticking: ticker::Running,
}

/// A task that waits for its turn. Dropped, it ends as abandoned.
struct Queued {
    shard: Rc<Shard>,
    task: Rc<Task>,
    left: Cell<bool>,
}

/// Waits for the task's turn. `None` when it was stopped before, and has ended.
pub(crate) async fn begin(shard: &Rc<Shard>, task: &Rc<Task>, ticket: Ticket) -> Option<Running> {
    let queued = Queued {
        shard: Rc::clone(shard),
        task: Rc::clone(task),
        left: Cell::new(false),
    };
    let turn = or(async { Err(task.control.until_stopped().await) }, async {
        Ok(ticket.turn().await)
    })
    .await;
    match turn {
        Ok(turn) => {
            queued.left.set(true);
            let now_ns = clock::monotonic_ns();
            task.set_running(now_ns, unix_ms(shard, now_ns));
            left_queue(shard, task, now_ns, None);
            shard.watch.add(task);
            Some(Running {
                shard: Rc::clone(shard),
                task: Rc::clone(task),
                finished: Cell::new(false),
                _turn: turn,
                _ticking: shard.ticker.running(),
            })
        }
        Err(stop) => {
            queued.end(Outcome::stopped(stop, &task.limits));
            None
        }
    }
}

/// The task's instance is made and its guest begins to execute.
pub(crate) fn instantiated(shard: &Shard, task: &Task) {
    let started_ns = task.started_ns.get();
    let ended_ns = clock::monotonic_ns();
    task.set_instantiated(ended_ns - started_ns);
    shard.metrics.instantiated(task.kind, ended_ns - started_ns);
    shard.steps.instantiated(task, started_ns, ended_ns, None);
    task.executing_ns.set(ended_ns);
}

impl Running {
    /// Ends the task as its guest's future ended.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.finished.set(true);
        let (shard, task) = (&self.shard, &self.task);
        shard.watch.remove(task.id);
        shard.line.guest_ran(task.control.cpu_ns());
        let started_ns = task.executing_ns.get();
        let ended_ns = clock::monotonic_ns();
        if started_ns > 0 {
            task.set_executed(ended_ns - started_ns);
            shard.metrics.executed(task, ended_ns - started_ns);
            shard
                .steps
                .executed(task, started_ns, ended_ns, outcome.code());
        } else {
            let begun_ns = task.started_ns.get();
            shard
                .steps
                .instantiated(task, begun_ns, ended_ns, outcome.code());
        }
        end(shard, task, outcome, ended_ns);
    }

    /// Ends the task as its guest's call ended; `outcome` judges what the guest returned.
    pub(crate) fn finish_guest<T>(
        &self,
        ended: Ended<wasmtime::Result<T>>,
        outcome: impl FnOnce(T) -> Outcome,
    ) {
        let task = Rc::clone(&self.task);
        let stopped = |stop| Outcome::stopped(stop, &task.limits);
        self.finish(match ended {
            Ended::Completed(Ok(value)) => outcome(value),
            // A guest that was stopped while it computed or wrote ends by a trap of our making.
            Ended::Completed(Err(error)) => match task.control.stopped() {
                Some(stop) => stopped(stop),
                None => Outcome::from_error(&error, &task.control, &task.limits),
            },
            Ended::Stopped => stopped(task.control.stopped().unwrap_or(Stop::Cancelled)),
            Ended::Panicked(message) => Outcome::panicked(&message, task.id, task.trace.trace_id),
        });
    }
}

impl Queued {
    /// Ends the task before its turn.
    fn end(&self, outcome: Outcome) {
        self.left.set(true);
        let (shard, task) = (&self.shard, &self.task);
        let ended_ns = clock::monotonic_ns();
        left_queue(shard, task, ended_ns, outcome.code());
        end(shard, task, outcome, ended_ns);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.finish(abandoned(&self.task));
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.left.get() {
            self.end(abandoned(&self.task));
        }
    }
}

/// The task's time in the queue is over: its turn came, or it was stopped, which is what `code` says then.
fn left_queue(shard: &Shard, task: &Task, ended_ns: u64, code: Option<Code>) {
    shard.metrics.queued(task.kind, ended_ns - task.accepted_ns);
    shard.steps.queued(task, ended_ns, code);
}

fn abandoned(task: &Task) -> Outcome {
    Outcome::stopped(
        task.control.stopped().unwrap_or(Stop::ClientGone),
        &task.limits,
    )
}

fn unix_ms(shard: &Shard, monotonic_ns: u64) -> u64 {
    shard.steps.unix_ns(monotonic_ns) / 1_000_000
}

fn end(shard: &Shard, task: &Task, outcome: Outcome, ended_ns: u64) {
    if task.finish(outcome, unix_ms(shard, ended_ns)) {
        task.bindings.borrow_mut().release();
        shard.metrics.task_ended(task, ended_ns - task.received_ns);
        shard.table.ended(task, ended_ns);
        shard.steps.completed(task, ended_ns);
        tracing::debug!(task = %task.id, trace_id = %task.trace.trace_id, status = %task.status(), "a task has ended");
    }
}

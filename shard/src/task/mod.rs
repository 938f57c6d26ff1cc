//! Tasks: what they are, how they run, and how long they are remembered.

mod command;
mod http;
mod lifecycle;
mod outcome;
mod table;
mod watch;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use vyr_core::digest::Digest;
use vyr_core::id::TaskId;
use vyr_core::limits::TaskLimits;
use vyr_core::problem::Code;
use vyr_core::task::{self, Kind, Status, TaskError, Usage};
use vyr_core::trace::{Exchange, TraceContext};

pub(crate) use command::{Command, run as run_command};
pub(crate) use http::run as run_http;
pub use http::{BodyError, ResponseBody};
pub(crate) use outcome::Outcome;
pub(crate) use table::Table;
pub(crate) use watch::Watch;

use crate::guest::{Control, Kept, Pipe, Stop};
use crate::state::TaskBindings;
use crate::steps::Subject;

/// One task of this shard, from acceptance until it is forgotten.
#[derive(Debug)]
pub struct Task {
    pub(crate) id: TaskId,
    pub(crate) artifact: Digest,
    pub(crate) kind: Kind,
    pub(crate) limits: TaskLimits,
    pub(crate) trace: TraceContext,
    pub(crate) control: Arc<Control>,
    pub(crate) log: Arc<Kept>,
    output: TaskOutput,
    /// The states it is bound to, until it has ended.
    pub(crate) bindings: RefCell<TaskBindings>,
    progress: RefCell<Progress>,
    changed: Notify,
    /// An HTTP task's request, and its response once there is one.
    pub(crate) exchange: Cell<Option<Exchange>>,
    /// When its request arrived, monotonic.
    pub(crate) received_ns: u64,
    /// When it was accepted, monotonic.
    pub(crate) accepted_ns: u64,
    /// When its turn came, monotonic; 0 before.
    pub(crate) started_ns: Cell<u64>,
    /// When its guest began to execute, monotonic; 0 before.
    pub(crate) executing_ns: Cell<u64>,
    /// CPU time of its guest that the artifact's metrics have already.
    pub(crate) cpu_counted_ns: Cell<u64>,
}

/// Where a task's output goes.
#[derive(Debug)]
pub(crate) enum TaskOutput {
    Kept(Arc<Kept>),
    Streamed(Arc<Pipe>),
    /// An HTTP task's output is its response.
    Response,
}

impl TaskOutput {
    pub(crate) fn kept(limit_bytes: u64) -> Self {
        Self::Kept(Kept::new(limit_bytes))
    }
}

#[derive(Debug)]
struct Progress {
    status: Status,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    exit_code: Option<i32>,
    error: Option<TaskError>,
    usage: Usage,
}

/// What a new task is made of.
pub(crate) struct NewTask {
    pub(crate) id: TaskId,
    pub(crate) artifact: Digest,
    pub(crate) kind: Kind,
    pub(crate) limits: TaskLimits,
    pub(crate) trace: TraceContext,
    pub(crate) control: Arc<Control>,
    pub(crate) output: TaskOutput,
    pub(crate) bindings: TaskBindings,
    pub(crate) cold: bool,
    pub(crate) received_ns: u64,
    pub(crate) accepted_ns: u64,
    pub(crate) exchange: Option<Exchange>,
}

impl Task {
    pub(crate) fn new(new: NewTask) -> Self {
        Self {
            id: new.id,
            artifact: new.artifact,
            kind: new.kind,
            limits: new.limits,
            trace: new.trace,
            control: new.control,
            log: Kept::new(new.limits.log_bytes_max),
            output: new.output,
            bindings: RefCell::new(new.bindings.accepted()),
            progress: RefCell::new(Progress {
                status: Status::Queued,
                started_ms: None,
                ended_ms: None,
                exit_code: None,
                error: None,
                usage: Usage {
                    cold: new.cold,
                    ..Usage::default()
                },
            }),
            changed: Notify::new(),
            exchange: Cell::new(new.exchange),
            received_ns: new.received_ns,
            accepted_ns: new.accepted_ns,
            started_ns: Cell::new(0),
            executing_ns: Cell::new(0),
            cpu_counted_ns: Cell::new(0),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The artifact it runs.
    #[must_use]
    pub fn artifact(&self) -> Digest {
        self.artifact
    }

    /// Its trace, to be returned to the client.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.progress.borrow().status
    }

    /// The task as clients see it.
    #[must_use]
    pub fn describe(&self) -> task::Task {
        let progress = self.progress.borrow();
        task::Task {
            id: self.id,
            status: progress.status,
            artifact: Some(self.artifact),
            kind: Some(self.kind),
            shard: self.id.shard(),
            submitted_ms: unix_ms_of(self.id),
            started_ms: progress.started_ms,
            ended_ms: progress.ended_ms,
            exit_code: progress.exit_code,
            error: progress.error.clone(),
            trace_id: Some(self.trace.trace_id.to_string()),
            bindings: self.bindings.borrow().describe(),
            usage: progress.usage,
            output_bytes: self.kept_output().map_or(0, |kept| kept.len()),
            log_bytes: self.log.len(),
            log_bytes_dropped: self.log.dropped_bytes(),
        }
    }

    /// Waits until the task has ended.
    pub async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.status().is_terminal() {
                return;
            }
            changed.await;
        }
    }

    /// The output kept so far; `None` when it was streamed.
    #[must_use]
    pub fn output(&self) -> Option<Bytes> {
        self.kept_output().map(|kept| kept.bytes())
    }

    /// The stream that the task writes its output to, if it was submitted so.
    #[must_use]
    pub fn output_stream(&self) -> Option<Arc<Pipe>> {
        match &self.output {
            TaskOutput::Streamed(pipe) => Some(Arc::clone(pipe)),
            TaskOutput::Kept(_) | TaskOutput::Response => None,
        }
    }

    /// What the guest wrote to its standard error, within the limit.
    #[must_use]
    pub fn logs(&self) -> Bytes {
        self.log.bytes()
    }

    /// Asks the task to end. It reaches its terminal status shortly after, if it has not ended yet.
    pub fn cancel(&self) {
        self.control.stop(Stop::Cancelled);
    }

    /// The client of a synchronous task has gone.
    pub fn abandon(&self) {
        self.control.stop(Stop::ClientGone);
    }

    /// Whose steps its records are.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            task: self.id,
            artifact: Some(self.artifact),
            kind: self.kind,
            trace: self.trace,
            cold: self.progress.borrow().usage.cold,
        }
    }

    /// The guest has set its response.
    pub(crate) fn set_response(&self, status: u16) {
        if let Some(exchange) = self.exchange.get() {
            self.exchange.set(Some(Exchange { status, ..exchange }));
        }
    }

    pub(crate) fn kept_output(&self) -> Option<&Arc<Kept>> {
        match &self.output {
            TaskOutput::Kept(kept) => Some(kept),
            TaskOutput::Streamed(_) | TaskOutput::Response => None,
        }
    }

    pub(crate) fn task_output(&self) -> &TaskOutput {
        &self.output
    }

    /// Bytes that are kept as long as the task is.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.log.len() + self.kept_output().map_or(0, |kept| kept.len())
    }

    /// Its turn came at `now_ns`, in Unix time `now_unix_ms`.
    pub(crate) fn set_running(&self, now_ns: u64, now_unix_ms: u64) {
        self.started_ns.set(now_ns);
        let mut progress = self.progress.borrow_mut();
        debug_assert_eq!(progress.status, Status::Queued);
        progress.status = Status::Running;
        progress.started_ms = Some(now_unix_ms);
        progress.usage.queue_us = (now_ns - self.accepted_ns) / 1000;
    }

    pub(crate) fn set_instantiated(&self, took_ns: u64) {
        self.progress.borrow_mut().usage.instantiate_us = took_ns / 1000;
    }

    pub(crate) fn set_reused(&self) {
        self.progress.borrow_mut().usage.reused = true;
    }

    pub(crate) fn set_executed(&self, took_ns: u64) {
        self.progress.borrow_mut().usage.execute_us = took_ns / 1000;
    }

    /// The only way to a terminal status; a task that has one keeps it.
    pub(crate) fn finish(&self, outcome: Outcome, ended_unix_ms: u64) -> bool {
        let mut progress = self.progress.borrow_mut();
        if progress.status.is_terminal() {
            debug_assert!(false, "task {} ended twice", self.id);
            return false;
        }
        progress.status = outcome.status;
        progress.exit_code = outcome.exit_code;
        progress.error = outcome.error;
        progress.ended_ms = Some(ended_unix_ms);
        progress.usage.cpu_us = self.control.cpu_ns() / 1000;
        progress.usage.memory_peak_bytes = self.control.memory_peak_bytes();
        drop(progress);
        self.changed.notify_waiters();
        true
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.progress.borrow().usage
    }

    /// What sort of error an ended task has.
    pub(crate) fn error_code(&self) -> Option<Code> {
        self.progress
            .borrow()
            .error
            .as_ref()
            .map(|error| error.code)
    }

    /// The error of an ended task.
    #[must_use]
    pub fn error(&self) -> Option<TaskError> {
        self.progress.borrow().error.clone()
    }
}

pub(crate) fn unix_ms_of(id: TaskId) -> u64 {
    let since = id
        .submitted_at()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

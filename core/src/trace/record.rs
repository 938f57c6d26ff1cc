//! One step of a task, as it is written into the ring.

use std::fmt;

use super::context::{SpanId, TraceId};
use super::detail::{Detail, Exchange};
use crate::digest::Digest;
use crate::id::TaskId;
use crate::problem::Code;
use crate::task::{Kind, Status};

/// A step in the life of a task. [`Step::Task`] is the whole of it, the parent of the others but
/// [`Step::Forward`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// From acceptance to the end: the root span.
    Task,
    /// The hop from the shard where the request landed to the one that runs the task: the parent of
    /// [`Step::Task`].
    Forward,
    /// Accepting the request: limits, artifact, admission.
    Submit,
    /// Binding a state.
    Bind,
    /// Waiting for its turn.
    Queue,
    /// Making the instance.
    Instantiate,
    /// Running the guest.
    Execute,
    /// A call of the guest to another host, up to the head of the response.
    Call,
    /// A span of the guest's own.
    Guest,
    /// Recording the outcome and releasing what the task held.
    Complete,
}

impl Step {
    /// Every step, in the order they happen, the whole first.
    pub const ALL: [Self; 10] = [
        Self::Task,
        Self::Forward,
        Self::Submit,
        Self::Bind,
        Self::Queue,
        Self::Instantiate,
        Self::Execute,
        Self::Call,
        Self::Guest,
        Self::Complete,
    ];

    /// The step's name, which is its span's as well unless [`Record::name`] knows a better one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Forward => "forward",
            Self::Submit => "submit",
            Self::Bind => "bind",
            Self::Queue => "queue",
            Self::Instantiate => "instantiate",
            Self::Execute => "execute",
            Self::Call => "call",
            Self::Guest => "guest",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A finished step of a task: a span, in fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The task.
    pub task: TaskId,
    /// The artifact it runs, if it is known.
    pub artifact: Option<Digest>,
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The span's parent: the task's root span, or for the root itself the client's span or the hop's,
    /// if any.
    pub parent: Option<SpanId>,
    /// When the step began, nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// How long it took, nanoseconds.
    pub duration_ns: u64,
    /// Which step it is.
    pub step: Step,
    /// How the task's guest is driven.
    pub kind: Kind,
    /// The task's status when the step ended; terminal for [`Step::Task`] and [`Step::Complete`].
    pub status: Status,
    /// Why the step failed, if it did.
    pub code: Option<Code>,
    /// Whether the span is exported.
    pub sampled: bool,
    /// Whether the task's artifact had to be loaded first.
    pub cold: bool,
    /// What only spans like this one have.
    pub detail: Detail,
}

impl Record {
    /// The span's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.detail {
            Detail::Exchange(Exchange { method, .. }) if self.step == Step::Call => method.as_str(),
            Detail::Guest { name } => name.as_str(),
            _ => self.step.as_str(),
        }
    }
}

const _: () = assert!(
    size_of::<Record>() <= 192,
    "a record is at most three cache lines"
);

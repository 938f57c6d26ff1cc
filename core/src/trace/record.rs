//! One step of a task, as it is written into the ring.

use std::fmt;

use super::context::{SpanId, TraceId};
use crate::digest::Digest;
use crate::id::TaskId;
use crate::problem::Code;
use crate::task::{Kind, Status};

/// A step in the life of a task. [`Step::Task`] is the whole of it, the parent of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// From acceptance to the end: the root span.
    Task,
    /// Accepting the request: limits, artifact, admission.
    Submit,
    /// Waiting for its turn.
    Queue,
    /// Making the instance.
    Instantiate,
    /// Running the guest.
    Execute,
    /// Recording the outcome and releasing what the task held.
    Complete,
}

impl Step {
    /// Every step, in the order they happen, the whole first.
    pub const ALL: [Self; 6] = [
        Self::Task,
        Self::Submit,
        Self::Queue,
        Self::Instantiate,
        Self::Execute,
        Self::Complete,
    ];

    /// The name of the step's span.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Submit => "submit",
            Self::Queue => "queue",
            Self::Instantiate => "instantiate",
            Self::Execute => "execute",
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
    /// The artifact it runs.
    pub artifact: Digest,
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The span's parent: the task's root span, or for the root itself the client's span if any.
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
}

const _: () = assert!(
    size_of::<Record>() <= 128,
    "a record is at most two cache lines"
);

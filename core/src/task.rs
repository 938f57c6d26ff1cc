//! What a task is to a client: its status, its times, its outcome.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ShardNumber, TaskId};
use crate::problem::Code;
use crate::state::Binding;

/// Where a task stands. It moves forward only, and reaches exactly one terminal status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, waiting for its turn.
    Queued,
    /// Its guest runs.
    Running,
    /// Ended as it should.
    Succeeded,
    /// Ended by its guest's exit code, a trap, a limit or a lost shard.
    Failed,
    /// Ended on request, or because its client went away.
    Cancelled,
    /// Ended at its wall-time or CPU-time limit.
    TimedOut,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// Whether the task has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The status as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            format!("'{text}' is not a task status; use one of queued, running, succeeded, failed, cancelled, timed_out")
        })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a guest is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `wasi:cli/command`: standard input, output and error, arguments, exit code.
    Command,
    /// `wasi:http/proxy`: one request, one response.
    Http,
}

impl Kind {
    /// The kind as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Http => "http",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a task did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// The stable code.
    pub code: Code,
    /// What happened, with the Wasm backtrace if the guest trapped.
    pub message: String,
}

/// What a task used. Times are microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From acceptance to its turn.
    pub queue_us: u64,
    /// Making the instance.
    pub instantiate_us: u64,
    /// From the first to the last instruction of the guest, waiting included.
    pub execute_us: u64,
    /// Time the guest held the core.
    pub cpu_us: u64,
    /// Highest sum of its linear memories, bytes.
    pub memory_peak_bytes: u64,
    /// Whether the artifact had to be loaded first.
    pub cold: bool,
    /// Whether an instance served it that had served tasks before.
    #[serde(default)]
    pub reused: bool,
}

/// A task as `GET /v0/tasks/{id}` shows it. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Where it stands.
    pub status: Status,
    /// The artifact it runs; absent for a task that was lost with its shard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub artifact: Option<Digest>,
    /// How its guest is driven; absent as `artifact`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// The shard that owns it.
    pub shard: ShardNumber,
    /// When it was accepted.
    pub submitted_ms: u64,
    /// When its turn came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<u64>,
    /// A command's exit code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<TaskError>,
    /// Its trace, 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// The states it is bound to; none once it has ended.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub bindings: Vec<Binding>,
    /// What it used.
    pub usage: Usage,
    /// Output bytes kept for reading.
    pub output_bytes: u64,
    /// Log bytes kept for reading.
    pub log_bytes: u64,
    /// Log bytes dropped at the limit.
    pub log_bytes_dropped: u64,
}

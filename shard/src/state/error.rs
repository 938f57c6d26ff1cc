//! Why an operation on a state was refused. Nothing was changed then, unless its shard did not answer.

use vyr_core::id::StateId;
use vyr_core::limits::{
    STATE_BATCH_BYTES_MAX, STATE_BATCH_KEYS_MAX, STATE_BINDINGS_MAX, STATE_KEY_BYTES_MAX,
    STATE_VALUE_BYTES_MAX,
};
use vyr_core::problem::{Code, Problem};
use vyr_core::task::Status;

/// An error of the state kernel. A guest sees its text and can go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No such state, or no longer.
    #[error("no state {id}: it was deleted, or its last binding and its linger are over")]
    NotFound {
        /// The id asked for.
        id: StateId,
    },
    /// The state was in the memory of a process that ended.
    #[error("state {id} was lost when its shard was restarted; create a new one")]
    Lost {
        /// The id asked for.
        id: StateId,
    },
    /// The state's shard does not answer.
    #[error(
        "the shard of state {id} does not answer ({reason}); what was asked may have been done or not; try again"
    )]
    Unreachable {
        /// The id asked for.
        id: StateId,
        /// What went wrong on the way.
        reason: String,
    },
    /// A write would exceed a bound of the state or its shard.
    #[error("{whose} is full: it holds at most {max} {what}; delete keys or raise the bound")]
    Full {
        /// The state or the shard.
        whose: &'static str,
        /// Keys or bytes.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// There are too many states.
    #[error("the shard holds at most {max} states; delete some or let them end")]
    Exhausted {
        /// The bound.
        max: usize,
    },
    /// A write through a read-only binding.
    #[error("the binding is read-only; bind the state as rw to write to it")]
    ReadOnly,
    /// The artifact's guest opens no state of this name.
    #[error(
        "the artifact declares no state '{name}'; put it with a manifest that has [[state]] name = \"{name}\""
    )]
    NameUndeclared {
        /// The name.
        name: String,
    },
    /// The task runs already, or has ended.
    #[error("the task is {status}; a state is bound at submission or while the task is queued")]
    TaskNotQueued {
        /// Where it stands.
        status: Status,
    },
    /// The task has a binding of this name.
    #[error("the task is bound to a state named '{name}' already; use another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The task has as many bindings as it may.
    #[error("a task is bound to at most {STATE_BINDINGS_MAX} states")]
    TooManyBindings,
    /// The key is too long.
    #[error("a key of {len_bytes} bytes is too long; at most {STATE_KEY_BYTES_MAX} are allowed")]
    KeyTooLarge {
        /// Its length.
        len_bytes: usize,
    },
    /// The value is too large.
    #[error(
        "a value of {len_bytes} bytes is too large; at most {STATE_VALUE_BYTES_MAX} are allowed"
    )]
    ValueTooLarge {
        /// Its length.
        len_bytes: usize,
    },
    /// The batch is too large.
    #[error(
        "a batch has at most {STATE_BATCH_KEYS_MAX} keys and {STATE_BATCH_BYTES_MAX} bytes; make it smaller"
    )]
    BatchTooLarge,
    /// The key is not at the version that a swap or a deletion expects.
    #[error("the key is at version {current}, not {expected}; read it again and retry")]
    VersionConflict {
        /// The version that is expected; 0 for a key that does not exist.
        expected: u64,
        /// The version it has.
        current: u64,
    },
    /// An increment of something else than a number.
    #[error("the value is not a decimal number of 64 bits; set one before incrementing it")]
    NotCounter,
    /// An increment beyond the range.
    #[error("the sum would leave the counter's range, {least} to {}", i64::MAX)]
    CounterOverflow {
        /// The least that the counter may be.
        least: i64,
    },
}

impl StateError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::StateNotFound,
            Self::Lost { .. } => Code::StateLost,
            Self::Unreachable { .. } => Code::StateUnreachable,
            Self::Full { .. } => Code::StateFull,
            Self::Exhausted { .. } => Code::StatesExhausted,
            Self::ReadOnly => Code::StateReadOnly,
            Self::NameUndeclared { .. }
            | Self::TaskNotQueued { .. }
            | Self::NameTaken { .. }
            | Self::TooManyBindings => Code::StateBindingRefused,
            Self::KeyTooLarge { .. } => Code::StateKeyTooLarge,
            Self::ValueTooLarge { .. } => Code::StateValueTooLarge,
            Self::BatchTooLarge => Code::StateBatchTooLarge,
            Self::VersionConflict { .. } => Code::StateVersionConflict,
            Self::NotCounter | Self::CounterOverflow { .. } => Code::StateNotCounter,
        }
    }

    /// The error as a problem document.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), self.to_string())
    }
}

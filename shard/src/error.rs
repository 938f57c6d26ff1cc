//! What can go wrong in a shard before or beside a task. What goes wrong *in* a task is a
//! [`vyr_core::task::TaskError`] of that task.

use vyr_core::artifact;
use vyr_core::problem::{Code, Problem};

/// An error of the shard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine could not be made.
    #[error("the Wasm engine cannot start: {reason}")]
    Engine {
        /// What wasmtime says.
        reason: String,
    },
    /// The bytes are no artifact that VYR can run.
    #[error("{0}")]
    ArtifactInvalid(String),
    /// The artifact store refused.
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    /// The artifact lacks the kind that the request needs.
    #[error("the artifact does not export {needs}; it is of kind {has}")]
    KindUnsupported {
        /// The export that is needed.
        needs: &'static str,
        /// The kinds it has.
        has: String,
    },
    /// Compiled code could not be written or read.
    #[error("compiled code: {reason}")]
    Compiled {
        /// What happened, with the file's name.
        reason: String,
    },
    /// The queue is full or the shard is stopping.
    #[error("{reason}; try again in a second")]
    Overloaded {
        /// Which bound was reached.
        reason: String,
    },
    /// The exporter of traces could not be started.
    #[error("traces cannot be exported: {reason}")]
    Telemetry {
        /// What is wrong with the endpoint.
        reason: String,
    },
    /// No such task.
    #[error("no task {id} on this node; finished tasks are kept for a limited time")]
    TaskNotFound {
        /// The id asked for.
        id: vyr_core::id::TaskId,
    },
    /// A state refused.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
    /// A state of this or another shard refused.
    #[error(transparent)]
    StateRefused(#[from] crate::state::Refused),
    /// A request is not acceptable as it stands.
    #[error("{0}")]
    RequestInvalid(String),
    /// An idempotency key was used for another request.
    #[error("the idempotency key was used before for a different request; use a new key")]
    IdempotencyConflict,
    /// A file could not be used.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The executor refused.
    #[error(transparent)]
    Executor(#[from] crate::rt::RtError),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ArtifactInvalid(_) => Code::ArtifactInvalid,
            Self::Artifact(error) => error.code(),
            Self::KindUnsupported { .. } => Code::ArtifactKindUnsupported,
            Self::Overloaded { .. } => Code::Overloaded,
            Self::TaskNotFound { .. } => Code::TaskNotFound,
            Self::State(error) => error.code(),
            Self::StateRefused(refused) => refused.code,
            Self::RequestInvalid(_) => Code::RequestInvalid,
            Self::IdempotencyConflict => Code::IdempotencyConflict,
            Self::Compiled { .. } | Self::Io { .. } => Code::StoreUnavailable,
            Self::Engine { .. } | Self::Executor(_) | Self::Telemetry { .. } => Code::Internal,
        }
    }

    /// The error as a problem document.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), self.to_string())
    }
}

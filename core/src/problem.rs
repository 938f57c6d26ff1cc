//! Stable error codes: what a client may rely on, whatever the message says.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// A stable error code, with the HTTP status it goes with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as clients see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status of a response that carries the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request is malformed: a parameter, header or JSON field.
    RequestInvalid = "request_invalid", 400;
    /// The bearer token is missing or wrong.
    Unauthorized = "unauthorized", 401;
    /// No such path.
    NotFound = "not_found", 404;
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The client was too slow.
    RequestTimeout = "request_timeout", 408;
    /// A body or header section is larger than allowed.
    RequestTooLarge = "request_too_large", 413;
    /// The content type is not one the operation takes.
    MediaTypeUnsupported = "media_type_unsupported", 415;

    /// No artifact has this digest, prefix or name.
    ArtifactNotFound = "artifact_not_found", 404;
    /// A digest prefix fits several artifacts.
    ArtifactAmbiguous = "artifact_ambiguous", 409;
    /// The bytes are not a component or module that VYR can run.
    ArtifactInvalid = "artifact_invalid", 422;
    /// The manifest is malformed.
    ManifestInvalid = "manifest_invalid", 422;
    /// The uploaded bytes do not have the expected digest.
    DigestMismatch = "digest_mismatch", 422;
    /// The signature is missing or does not verify with any trust key.
    ArtifactSignatureInvalid = "artifact_signature_invalid", 403;
    /// Stored bytes no longer have their digest.
    ArtifactCorrupt = "artifact_corrupt", 500;
    /// The artifact does not have the kind the operation needs.
    ArtifactKindUnsupported = "artifact_kind_unsupported", 422;
    /// The store cannot be written or read.
    StoreUnavailable = "store_unavailable", 507;

    /// No task has this id, or it was forgotten.
    TaskNotFound = "task_not_found", 404;
    /// The task's output was streamed to its client and is not kept.
    OutputNotKept = "output_not_kept", 409;
    /// The shard is at its bound of queued tasks, or draining.
    Overloaded = "overloaded", 503;
    /// The shard's process ended; its tasks ended with it.
    ShardLost = "shard_lost", 502;
    /// The same idempotency key came with another request.
    IdempotencyConflict = "idempotency_conflict", 422;

    /// The guest ended with an exit code other than 0.
    GuestExit = "guest_exit", 502;
    /// The guest trapped.
    GuestTrap = "guest_trap", 502;
    /// The guest ended without a response.
    GuestNoResponse = "guest_no_response", 502;
    /// The wall-time limit was reached.
    WallTimeExceeded = "wall_time_exceeded", 504;
    /// The CPU-time limit was reached.
    CpuTimeExceeded = "cpu_time_exceeded", 504;
    /// The memory limit was reached.
    MemoryExceeded = "memory_exceeded", 507;
    /// The limit of kept output was reached.
    OutputExceeded = "output_exceeded", 507;
    /// The client's input ended early.
    InputIncomplete = "input_incomplete", 400;
    /// The task was cancelled.
    Cancelled = "cancelled", 409;
    /// The client went away before its synchronous task had ended.
    ClientGone = "client_gone", 499;

    /// No state has this id: it was never made, its time is over, or it was deleted.
    StateNotFound = "state_not_found", 404;
    /// The shard's process ended, and its states with it.
    StateLost = "state_lost", 410;
    /// The state's shard does not answer at the moment; what was asked may have been done or not.
    StateUnreachable = "state_unreachable", 503;
    /// The state, or its shard, is at its bound of keys or bytes.
    StateFull = "state_full", 409;
    /// The shard is at its bound of states.
    StatesExhausted = "states_exhausted", 503;
    /// The binding is `ro`.
    StateReadOnly = "state_read_only", 403;
    /// The task has a state of this name, or is at its bound of bindings.
    StateBindingRefused = "state_binding_refused", 409;
    /// The key is longer than allowed.
    StateKeyTooLarge = "state_key_too_large", 422;
    /// The value is larger than allowed.
    StateValueTooLarge = "state_value_too_large", 413;
    /// The batch has more keys or bytes than allowed.
    StateBatchTooLarge = "state_batch_too_large", 413;
    /// The key was written since the version that the write expects.
    StateVersionConflict = "state_version_conflict", 412;
    /// The state has no such key.
    StateKeyNotFound = "state_key_not_found", 404;
    /// The value cannot be incremented: it is no number, or would leave the range.
    StateNotCounter = "state_not_counter", 409;

    /// A defect of VYR; the log has the details.
    Internal = "internal", 500;
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A problem document as RFC 9457 describes it, with VYR's stable `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the code says what the type would.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text for the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time and what to do.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// The task concerned, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<crate::id::TaskId>,
}

impl Problem {
    /// A problem with this code and this explanation.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: code.as_str().replace('_', " "),
            status: code.status(),
            detail: detail.into(),
            code,
            task: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

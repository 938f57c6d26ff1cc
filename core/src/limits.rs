//! Every bound of VYR in one place: of a task, of a shard, of the HTTP side, of the store.
//!
//! A task's limits come from its artifact's manifest, then from the request, and are capped by the
//! node's. Reaching a bound has a stable error code ([`crate::problem::Code`]).

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Artifacts with a label of their own in a shard's metrics; all others share one.
pub const ARTIFACT_LABELS_MAX: usize = 64;

/// The limits of one task. Absent values take the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskLimits {
    /// Wall time from start to end, milliseconds; time in the queue is not counted.
    pub wall_ms_max: u64,
    /// Time the guest computes, milliseconds.
    pub cpu_ms_max: u64,
    /// Linear memory of all the task's memories together, bytes.
    pub memory_bytes_max: u64,
    /// Elements of all the task's tables together.
    pub table_elements_max: u64,
    /// Core instances inside the component.
    pub instances_max: u64,
    /// Output kept for later reading, bytes. Output that is streamed to the client is not kept and not counted.
    pub output_bytes_max: u64,
    /// Log (standard error) kept, bytes; what exceeds it is dropped and counted.
    pub log_bytes_max: u64,
    /// State the task may hold, bytes, as [`STATE_KEY_OVERHEAD_BYTES`] counts them.
    pub state_bytes_max: u64,
}

impl TaskLimits {
    /// What a task gets when neither manifest nor request say otherwise.
    pub const DEFAULT: Self = Self {
        wall_ms_max: 60_000,
        cpu_ms_max: 60_000,
        memory_bytes_max: 256 * MIB,
        table_elements_max: 100_000,
        instances_max: 64,
        output_bytes_max: 16 * MIB,
        log_bytes_max: 64 * KIB,
        state_bytes_max: 64 * MIB,
    };

    /// The most a node grants unless it is configured otherwise.
    pub const NODE_CAP: Self = Self {
        wall_ms_max: 24 * 3_600_000,
        cpu_ms_max: 24 * 3_600_000,
        memory_bytes_max: GIB,
        table_elements_max: 1_000_000,
        instances_max: 256,
        output_bytes_max: 64 * MIB,
        log_bytes_max: MIB,
        state_bytes_max: GIB,
    };

    /// These limits, none above `cap`'s.
    #[must_use]
    pub fn capped_by(self, cap: &Self) -> Self {
        Self {
            wall_ms_max: self.wall_ms_max.min(cap.wall_ms_max),
            cpu_ms_max: self.cpu_ms_max.min(cap.cpu_ms_max),
            memory_bytes_max: self.memory_bytes_max.min(cap.memory_bytes_max),
            table_elements_max: self.table_elements_max.min(cap.table_elements_max),
            instances_max: self.instances_max.min(cap.instances_max),
            output_bytes_max: self.output_bytes_max.min(cap.output_bytes_max),
            log_bytes_max: self.log_bytes_max.min(cap.log_bytes_max),
            state_bytes_max: self.state_bytes_max.min(cap.state_bytes_max),
        }
    }
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The limits of one state. Absent values take the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateLimits {
    /// How long it stays after its last binding has ended, milliseconds.
    pub linger_ms: u64,
    /// Keys it holds.
    pub keys_max: u64,
    /// Bytes it holds, as [`STATE_KEY_OVERHEAD_BYTES`] counts them.
    pub bytes_max: u64,
}

impl StateLimits {
    /// What a state gets when its creator does not say otherwise.
    pub const DEFAULT: Self = Self {
        linger_ms: 0,
        keys_max: 1_000_000,
        bytes_max: TaskLimits::DEFAULT.state_bytes_max,
    };

    /// The most a node grants.
    pub const NODE_CAP: Self = Self {
        linger_ms: 24 * 3_600_000,
        keys_max: 1 << 24,
        bytes_max: TaskLimits::NODE_CAP.state_bytes_max,
    };

    /// These limits, none above `cap`'s.
    #[must_use]
    pub fn capped_by(self, cap: &Self) -> Self {
        Self {
            linger_ms: self.linger_ms.min(cap.linger_ms),
            keys_max: self.keys_max.min(cap.keys_max),
            bytes_max: self.bytes_max.min(cap.bytes_max),
        }
    }
}

impl Default for StateLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The limits of a shard's guests when they call other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutgoingLimits {
    /// Resolving the name and connecting, with TLS, milliseconds.
    pub connect_ms_max: u64,
    /// From the connection to the head of the response, the request's body included, milliseconds.
    pub first_byte_ms_max: u64,
    /// A pause in the response's body, milliseconds.
    pub between_bytes_ms_max: u64,
    /// From the request to the end of the response, milliseconds.
    pub total_ms_max: u64,
    /// The body of one request, bytes.
    pub request_bytes_max: u64,
    /// The body of one response, bytes.
    pub response_bytes_max: u64,
    /// Requests that one task has under way, up to the end of their responses' bodies.
    pub requests_per_task_max: usize,
    /// Connections of all guests of the shard.
    pub connections_max: usize,
    /// Connections kept for the next request.
    pub idle_connections_max: usize,
    /// How long they are kept, milliseconds.
    pub idle_ms_max: u64,
}

impl Default for OutgoingLimits {
    fn default() -> Self {
        Self {
            connect_ms_max: 10_000,
            first_byte_ms_max: 60_000,
            between_bytes_ms_max: 30_000,
            total_ms_max: 300_000,
            request_bytes_max: 64 * MIB,
            response_bytes_max: 64 * MIB,
            requests_per_task_max: 32,
            connections_max: 256,
            idle_connections_max: 32,
            idle_ms_max: 30_000,
        }
    }
}

/// The limits of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardLimits {
    /// Tasks that run at the same time.
    pub running_max: usize,
    /// Tasks that wait for their turn; one more is refused. HTTP requests wait on their connections before.
    pub queued_max: usize,
    /// How long a request may wait for its guest, milliseconds. While one has waited for longer, the newest begin
    /// first, and those that waited too long are refused, in a tenth of the guests' time at most.
    pub request_wait_ms_max: u64,
    /// Finished commands that are kept for reading.
    pub finished_max: usize,
    /// Finished HTTP tasks that are kept for reading. Their clients have had their answers, and under load they
    /// come by the ten thousand a second: few of them stay in the processor's caches.
    pub finished_http_max: usize,
    /// Output and log bytes of finished tasks that are kept, together.
    pub finished_bytes_max: u64,
    /// Age at which a finished task is forgotten, milliseconds.
    pub finished_ms_max: u64,
    /// Artifacts kept loaded.
    pub loaded_artifacts_max: usize,
    /// Instances that wait for their next task, of artifacts that let instances be used again.
    pub idle_instances_max: usize,
    /// Idempotency keys remembered.
    pub idempotency_keys_max: usize,
    /// Bytes between a client and a guest, each way, before the faster one waits.
    pub stream_buffer_bytes_max: usize,
    /// Telemetry records that wait for the exporter; one more is dropped and counted.
    pub trace_records_max: usize,
    /// Records of tasks' steps kept for those who watch; the oldest goes when a new one comes.
    pub recent_records_max: usize,
    /// States that exist at the same time.
    pub states_max: usize,
    /// Keys of all states together, those being freed included.
    pub state_keys_max: u64,
    /// Bytes of all states together, those being freed included.
    pub state_bytes_max: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            running_max: 256,
            queued_max: 1024,
            request_wait_ms_max: 1000,
            finished_max: 4096,
            finished_http_max: 256,
            finished_bytes_max: 256 * MIB,
            finished_ms_max: 15 * 60_000,
            loaded_artifacts_max: 256,
            idle_instances_max: 64,
            idempotency_keys_max: 4096,
            stream_buffer_bytes_max: 256 * KIB as usize,
            trace_records_max: 1 << 14,
            recent_records_max: 1 << 13,
            states_max: 4096,
            state_keys_max: StateLimits::NODE_CAP.keys_max,
            state_bytes_max: StateLimits::NODE_CAP.bytes_max,
        }
    }
}

/// The limits of the HTTP side of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Open connections of clients; one more is answered 503 and closed. Other shards have as many again for each shard
    /// of the node.
    pub connections_max: usize,
    /// Time to receive a request's header section, milliseconds.
    pub header_ms_max: u64,
    /// Size of a request's header section, bytes.
    pub header_bytes_max: usize,
    /// Header fields of one request.
    pub header_fields_max: usize,
    /// Longest pause inside a request body, milliseconds; a slower client is cut off.
    pub body_pause_ms_max: u64,
    /// Longest time to receive a body that is taken as a whole (JSON, artifacts), milliseconds.
    pub body_ms_max: u64,
    /// Longest time a client may leave a response unread, milliseconds.
    pub write_pause_ms_max: u64,
    /// A JSON request body, bytes.
    pub json_bytes_max: usize,
    /// An uploaded artifact, bytes.
    pub artifact_bytes_max: u64,
    /// Longest `wait`, milliseconds.
    pub wait_ms_max: u64,
    /// Rows of one list page.
    pub page_rows_max: usize,
    /// Streams of traces and metrics that are watched at the same time; one more is refused.
    pub watchers_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_ms_max: 10_000,
            header_bytes_max: 32 * KIB as usize,
            header_fields_max: 100,
            body_pause_ms_max: 30_000,
            body_ms_max: 300_000,
            write_pause_ms_max: 30_000,
            json_bytes_max: MIB as usize,
            artifact_bytes_max: 128 * MIB,
            wait_ms_max: 300_000,
            page_rows_max: 1000,
            watchers_max: 64,
        }
    }
}

/// Longest artifact name or tag, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest manifest, bytes, as TOML or JSON.
pub const MANIFEST_BYTES_MAX: usize = 64 * KIB as usize;
/// Longest detached signature, bytes.
pub const SIGNATURE_BYTES_MAX: usize = 1024;
/// Arguments plus environment of one task, bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 128 * KIB as usize;
/// Longest `Idempotency-Key`, bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Longest error message kept with a task, bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 8 * KIB as usize;
/// Longest key of a state, bytes.
pub const STATE_KEY_BYTES_MAX: usize = KIB as usize;
/// Largest value of a state, bytes. One value is copied without a pause that others would feel.
pub const STATE_VALUE_BYTES_MAX: usize = MIB as usize;
/// What each key counts against the bounds of bytes, besides its own length and its value's.
pub const STATE_KEY_OVERHEAD_BYTES: u64 = 32;
/// Keys of one batch operation.
pub const STATE_BATCH_KEYS_MAX: usize = 1024;
/// Keys and values that one batch operation reads or writes, bytes.
pub const STATE_BATCH_BYTES_MAX: usize = 2 * MIB as usize;
/// Keys on one page of a listing.
pub const STATE_PAGE_KEYS_MAX: usize = 1024;
/// States that one task is bound to.
pub const STATE_BINDINGS_MAX: usize = 16;
/// Values that a guest holds for a compare-and-swap at the same time, of all its states.
pub const STATE_SWAPS_MAX: usize = 64;
/// Bytes of those values and their keys.
pub const STATE_SWAPS_BYTES_MAX: usize = 4 * MIB as usize;
/// How long a new state waits for its first binding if its linger is shorter, milliseconds.
pub const STATE_UNBOUND_MS_MAX: u64 = 60_000;
/// What is freed of deleted states between two turns of their shard, bytes.
pub const STATE_FREE_STEP_BYTES: u64 = MIB;

/// Spans and log records of its guest's own that one task may send to the collector; more are dropped and
/// counted.
pub const GUEST_EVENTS_PER_TASK_MAX: u32 = 1000;
/// Texts and attributes of one span or log record of a guest, bytes; what exceeds it is cut or dropped.
pub const GUEST_EVENT_BYTES_MAX: usize = 16 * KIB as usize;
/// Longest line of a guest's standard streams in one log record, bytes; the rest of the line is dropped.
pub const GUEST_LINE_BYTES_MAX: usize = 8 * KIB as usize;
/// Spans and log records of all guests of a shard that wait for the exporter.
pub const GUEST_EVENTS_WAITING_MAX: usize = 4096;
/// What they are together, bytes, encoded.
pub const GUEST_EVENTS_WAITING_BYTES_MAX: usize = 16 * MIB as usize;
/// Spans that a guest has started and not ended, as far as VYR remembers them.
pub const GUEST_SPANS_OPEN_MAX: usize = 64;
/// What a guest hands to its host in one call, bytes. It is copied without a pause that others would feel.
pub const GUEST_CALL_BYTES_MAX: usize = 16 * MIB as usize;

const _: () = {
    assert!(
        STATE_BATCH_BYTES_MAX < GUEST_CALL_BYTES_MAX,
        "the largest batch can be handed over"
    );
    assert!(
        GUEST_LINE_BYTES_MAX < GUEST_EVENT_BYTES_MAX,
        "the longest line fits an event"
    );
};

const _: () = {
    let (default, cap) = (StateLimits::DEFAULT, StateLimits::NODE_CAP);
    assert!(default.linger_ms <= cap.linger_ms);
    assert!(default.keys_max <= cap.keys_max);
    assert!(default.bytes_max <= cap.bytes_max);
    assert!(
        STATE_KEY_BYTES_MAX <= u16::MAX as usize,
        "a length is stored in 16 bits"
    );
    assert!(
        STATE_VALUE_BYTES_MAX <= u32::MAX as usize,
        "a length is stored in 32 bits"
    );
    assert!(
        STATE_KEY_BYTES_MAX + STATE_VALUE_BYTES_MAX <= STATE_BATCH_BYTES_MAX,
        "a batch of one key fits"
    );
};

const _: () = {
    let (default, cap) = (TaskLimits::DEFAULT, TaskLimits::NODE_CAP);
    assert!(default.wall_ms_max <= cap.wall_ms_max);
    assert!(default.memory_bytes_max <= cap.memory_bytes_max);
    assert!(default.output_bytes_max <= cap.output_bytes_max);
    assert!(
        MANIFEST_BYTES_MAX <= MIB as usize,
        "a manifest fits a JSON request"
    );
};

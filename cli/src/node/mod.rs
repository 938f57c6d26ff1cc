//! `vyr node`: a small supervisor and one pinned shard process per core.
//!
//! The supervisor serves nothing. It holds the data directory's lock and the port, starts the
//! shards, restarts one that dies, and passes a termination signal on as "drain".

mod address;
mod lock;
mod shard_process;
mod supervisor;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vyr_core::limits::{HttpLimits, OutgoingLimits, ShardLimits, TaskLimits};
use vyr_shard::telemetry::TelemetryConfig;

pub(crate) use shard_process::shard_process;
pub(crate) use supervisor::{own_program, run};

/// A node, completely described.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeConfig {
    /// The address clients use; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Shard processes.
    pub(crate) shards: u16,
    /// Where artifacts, compiled code and sockets are.
    pub(crate) data_dir: PathBuf,
    /// Files of the keys whose signatures are accepted; when empty, artifacts need none.
    pub(crate) trust_keys: Vec<PathBuf>,
    /// File of the token that requests over TCP must carry.
    pub(crate) token_file: Option<PathBuf>,
    /// Where traces and metrics go, if anywhere.
    pub(crate) otlp_endpoint: Option<String>,
    /// What of them, and how.
    pub(crate) telemetry: TelemetryConfig,
    /// The hosts that guests may call if their manifests name them.
    pub(crate) outgoing_hosts: Vec<String>,
    /// `auto`, `io_uring` or `epoll`.
    pub(crate) executor: String,
    /// Time running tasks get when the node is told to stop, milliseconds.
    pub(crate) drain_ms_max: u64,
    /// The most a task is granted.
    pub(crate) task_cap: TaskLimits,
    /// The bounds of each shard.
    pub(crate) shard_limits: ShardLimits,
    /// The bounds of guests' calls to other hosts, for each shard.
    pub(crate) outgoing_limits: OutgoingLimits,
    /// The bounds of each shard's HTTP side.
    pub(crate) http_limits: HttpLimits,
}

impl NodeConfig {
    /// A shard's own socket.
    fn socket(&self, shard: u16) -> PathBuf {
        self.run_dir().join(format!("shard-{shard}.sock"))
    }

    fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }
}

/// What the supervisor hands to a shard process, as one line of JSON on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct ShardStart {
    node: NodeConfig,
    shard: u16,
    life: u16,
    cpu: Option<usize>,
}

/// What follows on the shard's standard input: finish within the time and exit. The end of the
/// input means the same with no time: the supervisor has died.
const DRAIN: &str = "drain";
/// What a shard prints on its standard output once it listens.
const READY: &str = "ready";

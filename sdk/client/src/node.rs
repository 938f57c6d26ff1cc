//! What a node says of itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use vyr_core::id::{ShardLife, ShardNumber};

use crate::connection::{Client, Error};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The version of its program.
    pub version: String,
    /// The address it listens on.
    pub listen: SocketAddr,
    /// How many shards it should have.
    pub shards_configured: usize,
    /// Those that answer.
    pub shards: Vec<Shard>,
}

/// A shard of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub shard: ShardNumber,
    /// Its own address: a connection to it is to this shard.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// How often its process was restarted.
    pub life: ShardLife,
    /// The processor its executor is pinned to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<usize>,
    /// `io_uring` or `epoll`.
    pub executor: String,
    /// How long its process runs, milliseconds.
    pub uptime_ms: u64,
    /// Whether it is stopping.
    pub draining: bool,
}

impl Client {
    /// What the node says of itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn describe_node(&self) -> Result<Node, Error> {
        self.get("/v0/node").await
    }
}

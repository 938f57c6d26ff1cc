//! A client for a VYR node: the Control API v0 as typed, asynchronous calls.
//!
//! ```no_run
//! # async fn example() -> Result<(), vyr_client::Error> {
//! let client = vyr_client::Client::new("http://127.0.0.1:7411")?;
//! for task in client.tasks(&Default::default()).await?.tasks {
//!     println!("{} {}", task.id, task.status);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Calls need a tokio runtime with I/O. Each opens a connection of its own: it can stream a request
//! and read its response at the same time without one call waiting for another.

mod artifacts;
mod connection;
mod events;
mod node;
mod spans;
mod states;
mod streams;
mod tasks;

pub use artifacts::{Artifact, ArtifactPage, NewArtifact, Put, Signature};
pub use connection::{Body, Client, Error, body_of_stream};
pub use node::{Node, Shard};
pub use spans::{Attribute, Span, SpanStatus};
pub use states::{KeyPage, NewState, StatePage};
pub use streams::{
    Lost, MetricEvent, MetricStream, Missing, Received, ShardMetrics, TraceEvent, TraceStream,
};
pub use tasks::{OutputStream, Submit, TaskFilter, TaskPage};

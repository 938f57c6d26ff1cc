//! One shard: an executor, a Wasm engine, tasks, and nothing shared with any other shard.
//!
//! [`rt`] is the only module that names an executor. Nothing here knows HTTP routes; what crosses
//! to the HTTP side is [`Shard`] and the types it hands out.

pub mod artifact;
pub mod cpu;
mod admission;
mod clock;
mod engine;
mod error;
mod guest;
mod metrics;
mod shard;
mod steps;
mod task;
mod ticker;
pub mod rt;
pub mod telemetry;

pub use engine::Engine;
pub use error::Error;
pub use guest::{Pipe, PipeEnd};
pub use shard::{Accepted, Found, Shard, ShardConfig, Submit, lost, store_dir};
pub use task::{BodyError, ResponseBody, Task};

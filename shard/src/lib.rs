//! One shard: an executor, a Wasm engine, tasks, and nothing shared with any other shard.
//!
//! [`rt`] is the only module that names an executor. Nothing here knows HTTP routes; what crosses
//! to the HTTP side is [`Shard`] and the types it hands out.

mod admission;
pub mod artifact;
mod clock;
pub mod cpu;
mod engine;
mod error;
mod guest;
mod line;
mod metrics;
pub mod rt;
mod shard;
pub mod state;
mod steps;
mod submit;
mod task;
pub mod telemetry;
mod ticker;

pub use admission::round as admission_round;
pub use engine::Engine;
pub use error::Error;
pub use guest::{Pipe, PipeEnd};
pub use shard::{Accepted, Found, Shard, ShardConfig, lost};
pub use steps::{Arrival, Hop};
pub use submit::Submit;
pub use task::{BodyError, ResponseBody, Task};

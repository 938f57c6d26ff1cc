//! Load on an HTTP server, measured as a client sees it.
//!
//! The generator spins instead of sleeping: a sleeping client makes every response of the server
//! pay for waking it, and so measures itself. Give it a core of its own.

mod connection;
mod load;

pub use connection::Answer;
pub use load::{ClosedLoop, Failure, Report, closed_loop, latency_histogram};

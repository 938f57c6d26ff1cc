//! Load on HTTP servers, measured as a client sees it, and comparisons of servers under it.
//!
//! The generator spins instead of sleeping: a sleeping client makes every response of the server
//! pay for waking it, and so measures itself. Give it a processor of its own.

pub mod compare;
mod connection;
mod host;
mod latency;
mod load;
mod outcome;
pub mod pin;
pub mod plain;
mod process;
pub mod report;
pub mod results;
mod schedule;
mod sweep;
mod url;

pub use connection::Answer;
pub use host::fingerprint;
pub use latency::{latency_histogram, quantile_us, write_hgrm};
pub use load::{Load, Pace, run};
pub use outcome::{Failure, Report};
pub use process::{ProcessTree, cpu_ns, resident_bytes};
pub use schedule::Arrivals;
pub use sweep::{SweepPlan, sweep};
pub use url::{Address, Url, UrlError};

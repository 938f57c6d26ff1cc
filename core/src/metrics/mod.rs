//! The metrics of one shard: counters, gauges and HDR histograms behind one registry.
//!
//! A metric is described once, as a constant, and registered once for each set of label values.
//! Registering gives a cheap handle that the code which does the work keeps:
//!
//! ```
//! use vyr_core::id::ShardNumber;
//! use vyr_core::metrics::{Exposition, Metric, Registry, Unit};
//!
//! const TASKS: Metric = Metric { name: "vyr_tasks", unit: Unit::Count, help: "Tasks that ended." };
//! const QUEUE: Metric = Metric {
//!     name: "vyr_task_queue_seconds",
//!     unit: Unit::Seconds,
//!     help: "Time a task waited for its turn.",
//! };
//!
//! let registry = Registry::new();
//! let succeeded = registry.counter(&TASKS, &[("kind", "http"), ("status", "succeeded")]);
//! let queue = registry.histogram(&QUEUE, &[("kind", "http")]);
//! succeeded.inc();
//! queue.record_ns(12_500);
//!
//! let text = Exposition::OpenMetrics.render(&[(ShardNumber(0), registry.snapshot())]);
//! let text = String::from_utf8_lossy(&text);
//! assert!(text.contains("vyr_tasks_total{shard=\"0\",kind=\"http\",status=\"succeeded\"} 1\n"));
//! ```
//!
//! Invariants
//! - A registry and its handles belong to one thread: no atomics, no locks.
//! - Recording allocates nothing and cannot fail; a value outside a histogram's range counts as the
//!   nearest value inside it.
//! - A [`Snapshot`] has everything that was recorded: snapshots of several shards, sent as JSON,
//!   merge as if one histogram had recorded all the values.
//! - Names are those of the OpenMetrics exposition, without `_total`: a counter `vyr_tasks` shows
//!   as `vyr_tasks_total`; a metric with a unit ends in it. The label `shard` is added on rendering.

mod exponential;
mod exposition;
mod histogram;
mod protobuf;
mod registry;
mod snapshot;
mod text;

pub use exponential::{ExponentialBounds, ExponentialHistogram};
pub use exposition::Exposition;
pub use histogram::{HISTOGRAM_NS_MAX, Histogram, HistogramSnapshot, Percentiles};
pub use registry::{Counter, Gauge, Metric, Registry, TimeCounter, Unit};
pub use snapshot::{Family, FamilyKind, Series, Snapshot, Value};

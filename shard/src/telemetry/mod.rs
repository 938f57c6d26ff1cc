//! Exports the records of tasks' steps as OTLP spans, off the executor.
//!
//! [`Exporter::start`] takes the reading end of a shard's ring ([`vyr_core::trace::Ring`]) to a
//! thread of its own, which turns records into spans and sends them to a collector over
//! HTTP/protobuf.
//!
//! Span names are those of [`vyr_core::trace::Step`]. Every span has `vyr.task.id`; the root span
//! `task` also has `vyr.task.kind`, `vyr.task.status`, `vyr.artifact.digest` and `vyr.shard`. A step
//! that failed has the status *error* with the stable code, and the code again as `error.type`. The
//! root of an HTTP task has the kind *server*, that of a command the kind *consumer*.
//!
//! Invariants
//! - The executor never waits: it writes into the ring, reads atomics and sets a flag.
//! - The thread is not bound to the executor's core and has a lower priority.
//! - Memory is bounded: the ring, the queue behind it, and one batch.
//! - Every record that was made is counted once, as exported (a collector acknowledged it), as
//!   dropped by the ring, as dropped by the exporter, or as not sampled. A batch whose
//!   acknowledgement was lost counts as dropped, although the collector may have it.
//! - Nothing is logged more often than every 30 seconds.

mod config;
mod exporter;
mod pump;
mod spans;
mod thread;
mod transport;

#[cfg(test)]
mod tests;

pub use config::{ExporterConfig, ExporterError};
pub use exporter::{ExportTotals, Exporter, ExporterHandle};

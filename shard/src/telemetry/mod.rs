//! Exports the records of tasks' steps as OTLP spans, off the executor.
//!
//! [`Exporter::start`] takes the reading end of a shard's ring ([`vyr_core::trace::Ring`]) to a
//! thread of its own, which encodes records as spans and sends them to a collector, over HTTP or gRPC, with
//! the shard's metrics from time to time, and what guests tell of their own (`events.rs`). What a span has is in
//! [`vyr_core::trace::Record`].
//!
//! Invariants
//! - The executor never waits: it writes into the ring, reads atomics and sets a flag.
//! - The thread is not bound to the executor's core and has a lower priority.
//! - Memory is bounded: the ring, the queue behind it, the events of guests, and one batch.
//! - Every record that was made is counted once, as exported (a collector acknowledged it), as
//!   dropped by the ring, as dropped by the exporter, or as not sampled. A batch whose
//!   acknowledgement was lost counts as dropped, although the collector may have it.
//! - Metrics go beside the traces: a collector that takes none of them delays no trace.
//! - Nothing is logged more often than every 30 seconds.

mod config;
mod events;
mod export_state;
mod exporter;
mod metrics_message;
mod metrics_pump;
mod protobuf;
mod pump;
mod resource;
mod spans;
mod thread;
mod transport;

#[cfg(test)]
mod tests;

pub use config::{ExporterConfig, ExporterError, Protocol, TelemetryConfig};
pub use events::EventTotals;
pub(crate) use events::{EventKind, EventSender, GuestEvent};
pub use exporter::{ExportTotals, Exporter, ExporterHandle};

//! Traces: W3C trace context, ids, and the fixed-size records of a task's steps.
//!
//! A task has one trace. Its root span `task` covers submit to complete; its parent is the span
//! that the client named in `traceparent`, if it did. The steps are children of the root:
//!
//! ```text
//! (client's span) ─▶ task ─┬─ submit ─ queue ─ instantiate ─ execute ─ complete
//! ```
//!
//! Each step writes one [`Record`] into its shard's [`Ring`] where it happens. A thread off the
//! executor reads the ring.
//!
//! Invariants
//! - Writing a record neither blocks nor allocates. A full ring drops the new record and counts it:
//!   records made = written + dropped.
//! - Ids are never zero (W3C Trace Context calls such ids invalid); the types cannot hold it.

mod context;
mod record;
mod ring;

pub use context::{SpanId, TraceContext, TraceId, TraceIdSource, TraceParent, TraceParentError};
pub use record::{Record, Step};
pub use ring::{Reader, Ring, RingCounts, Writer};

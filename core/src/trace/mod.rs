//! Traces: W3C trace context, ids, and the fixed-size records of a task's steps.
//!
//! A task has one trace. Its root span `task` covers submit to complete; its parent is the span
//! that the client named in `traceparent`, if it did. The steps are children of the root:
//!
//! ```text
//! (client's span) ─▶ (forward) ─▶ task ─┬─ submit ─ (bind) ─ queue ─ instantiate ─ execute ─ complete
//!                                      └─ (calls, guest's spans)
//! ```
//!
//! Each step writes one [`Record`] where it happens: into its shard's [`Ring`], which a thread off the
//! executor reads, and into its [`Recent`] records, which watchers read.
//!
//! Invariants
//! - Writing a record neither blocks nor allocates. A full ring drops the new record and counts it:
//!   records made = written + dropped.
//! - Ids are never zero (W3C Trace Context calls such ids invalid); the types cannot hold it.

mod context;
mod detail;
mod recent;
mod record;
mod ring;
mod span;

pub use context::{SpanId, TraceContext, TraceId, TraceIdSource, TraceParent, TraceParentError};
pub use detail::{Detail, Exchange, Method, ShortText};
pub use recent::{Passed, Recent};
pub use record::{Record, Step};
pub use ring::{Reader, Ring, RingCounts, Writer};
pub use span::{Attribute, SpanKind};

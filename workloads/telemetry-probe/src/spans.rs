//! Spans as an SDK makes them: an id of their own, and the parent that the host or the guest names.

use crate::bindings::wasi::clocks::wall_clock::{Datetime, now};
use crate::bindings::wasi::otel::tracing::{
    Event, SpanContext, SpanData, SpanKind, Status, on_end, on_start,
};
use crate::bindings::wasi::otel::types::{InstrumentationScope, KeyValue};
use crate::bindings::wasi::random::random::get_random_u64;

/// A span that has begun.
pub(crate) struct Open {
    pub(crate) context: SpanContext,
    parent: String,
    name: String,
    start: Datetime,
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "telemetry-probe".into(),
        version: Some("1".into()),
        schema_url: None,
        attributes: Vec::new(),
    }
}

pub(crate) fn attribute(key: &str, json: &str) -> KeyValue {
    KeyValue { key: key.into(), value: json.into() }
}

/// Begins a span below another.
pub(crate) fn begin(name: &str, parent: &SpanContext) -> Open {
    let context =
        SpanContext { span_id: format!("{:016x}", get_random_u64() | 1), ..parent.clone() };
    on_start(&context);
    Open { context, parent: parent.span_id.clone(), name: name.into(), start: now() }
}

impl Open {
    /// Ends it, with these attributes and an event.
    pub(crate) fn end(self, attributes: Vec<KeyValue>, status: Status) {
        on_end(&SpanData {
            span_context: self.context,
            parent_span_id: self.parent,
            span_kind: SpanKind::Client,
            name: self.name,
            start_time: self.start,
            end_time: now(),
            attributes,
            events: vec![Event {
                name: "half-way".into(),
                time: now(),
                attributes: vec![attribute("step", "2")],
            }],
            links: Vec::new(),
            status,
            instrumentation_scope: scope(),
            dropped_attributes: 0,
            dropped_events: 0,
            dropped_links: 0,
        });
    }
}

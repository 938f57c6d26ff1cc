//! `wasi:otel` 0.2.0-rc.2: spans, logs, and a clear no to metrics.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use vyr_core::limits::GUEST_EVENTS_PER_TASK_MAX;
use vyr_core::trace::{SpanId, TraceId};
use wasmtime::component::{Linker, Val};

use super::bindings::wasi::clocks::wall_clock::Datetime;
use super::bindings::wasi::otel::{logs, tracing};
use super::room::{Room, any_value, text_value};
use super::{HasTelemetry, Telemetry, text};
use crate::clock;
use crate::guest::Guest;
use crate::steps::GuestSpan;
use crate::task::unix_ms_of;

/// OTLP's flags of a span: sampled, and its parent is known not to be remote.
const FLAGS: u32 = 0x101;
const METRICS_REFUSED: &str =
    "VYR does not collect guests' metrics; send them to a collector by wasi:http";

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    tracing::add_to_linker::<_, HasTelemetry>(linker, |guest| &mut guest.telemetry)?;
    logs::add_to_linker::<_, HasTelemetry>(linker, |guest| &mut guest.telemetry)?;
    // Its types have changed from draft to draft, its result has not.
    linker
        .instance("wasi:otel/metrics@0.2.0-rc.2")?
        .func_new("export", |_, _, _, results| {
            let refused = Val::String(METRICS_REFUSED.into());
            if let Some(result) = results.first_mut() {
                *result = Val::Result(Err(Some(Box::new(refused))));
            }
            Ok(())
        })
}

impl tracing::Host for Telemetry {
    fn on_start(&mut self, context: tracing::SpanContext) -> wasmtime::Result<()> {
        if let Some(span) = self.own_id(&context.span_id) {
            self.begin(span);
        }
        Ok(())
    }

    fn on_end(&mut self, data: tracing::SpanData) -> wasmtime::Result<()> {
        let id = self.own_id(&data.span_context.span_id);
        let id = id.unwrap_or_else(|| self.steps.span_id());
        self.end(id);
        let parent = span_id(&data.parent_span_id).filter(|parent| *parent != id);
        let parent = parent.unwrap_or(self.subject.trace.span_id);
        let now_ns = clock::unix_ns();
        let within = |time| unix_ns(time).max(self.began_unix_ns()).min(now_ns);
        let start_unix_ns = within(data.start_time);
        let end_unix_ns = within(data.end_time).max(start_unix_ns);
        let seen = GuestSpan {
            id,
            parent,
            name: &data.name,
            start_unix_ns,
            end_unix_ns,
        };
        if self.shown < GUEST_EVENTS_PER_TASK_MAX {
            self.shown += 1;
            self.steps.guest_span(&self.subject, &seen);
        }
        self.log.told(None, |export| {
            export.span(|| {
                let (scope, span) = span(data);
                let span = Span {
                    span_id: id.to_bits().to_be_bytes().into(),
                    parent_span_id: parent.to_bits().to_be_bytes().into(),
                    start_time_unix_nano: start_unix_ns,
                    end_time_unix_nano: end_unix_ns,
                    ..span
                };
                (scope, span)
            });
        });
        Ok(())
    }

    fn outer_span_context(&mut self) -> wasmtime::Result<tracing::SpanContext> {
        Ok(self.context_of(self.subject.trace.span_id))
    }

    fn current_span_context(&mut self) -> wasmtime::Result<tracing::SpanContext> {
        Ok(self.context_of(self.current()))
    }
}

impl Telemetry {
    /// The id of a span of the guest's own. The root's is not: what claimed it would take the root's place.
    fn own_id(&self, text: &str) -> Option<SpanId> {
        span_id(text).filter(|id| *id != self.subject.trace.span_id)
    }

    /// When the task was submitted, to the millisecond; no span of its guest began before.
    fn began_unix_ns(&self) -> u64 {
        unix_ms_of(self.subject.task).saturating_mul(1_000_000)
    }

    fn context_of(&self, span: SpanId) -> tracing::SpanContext {
        let trace = &self.subject.trace;
        let flags = if trace.sampled {
            tracing::TraceFlags::SAMPLED
        } else {
            tracing::TraceFlags::empty()
        };
        tracing::SpanContext {
            trace_id: trace.trace_id.to_string(),
            span_id: span.to_string(),
            trace_flags: flags,
            is_remote: false,
            trace_state: Vec::new(),
        }
    }
}

/// What a span has besides ids and times.
fn span(data: tracing::SpanData) -> (InstrumentationScope, Span) {
    let mut room = Room::new();
    let name = room.text(data.name);
    let scope = room.scope(data.instrumentation_scope);
    let status = match data.status {
        tracing::Status::Unset => None,
        tracing::Status::Ok => Some((StatusCode::Ok, String::new())),
        tracing::Status::Error(message) => Some((StatusCode::Error, room.text(message))),
    };
    let mut dropped_attributes_count = data.dropped_attributes;
    let attributes = room.attributes(data.attributes, &mut dropped_attributes_count);
    let (mut events, mut dropped_events_count) = (Vec::new(), data.dropped_events);
    for event in data.events {
        if !room.item(event.name.len()) {
            dropped_events_count = dropped_events_count.saturating_add(1);
            continue;
        }
        let mut dropped = 0;
        events.push(Event {
            time_unix_nano: unix_ns(event.time),
            name: event.name,
            attributes: room.attributes(event.attributes, &mut dropped),
            dropped_attributes_count: dropped,
        });
    }
    let (mut links, mut dropped_links_count) = (Vec::new(), data.dropped_links);
    for link in data.links {
        let ids = trace_id(&link.span_context.trace_id).zip(span_id(&link.span_context.span_id));
        let Some((trace, span)) = ids.filter(|_| room.item(0)) else {
            dropped_links_count = dropped_links_count.saturating_add(1);
            continue;
        };
        let mut dropped = 0;
        links.push(Link {
            trace_id: trace.to_bits().to_be_bytes().into(),
            span_id: span.to_bits().to_be_bytes().into(),
            attributes: room.attributes(link.attributes, &mut dropped),
            dropped_attributes_count: dropped,
            ..Link::default()
        });
    }
    let span = Span {
        name,
        kind: match data.span_kind {
            tracing::SpanKind::Client => SpanKind::Client,
            tracing::SpanKind::Server => SpanKind::Server,
            tracing::SpanKind::Producer => SpanKind::Producer,
            tracing::SpanKind::Consumer => SpanKind::Consumer,
            tracing::SpanKind::Internal => SpanKind::Internal,
        }
        .into(),
        attributes,
        dropped_attributes_count,
        events,
        dropped_events_count,
        links,
        dropped_links_count,
        status: status.map(|(code, message)| Status {
            code: code.into(),
            message,
        }),
        flags: FLAGS,
        ..Span::default()
    };
    (scope, span)
}

impl logs::Host for Telemetry {
    fn on_emit(&mut self, data: logs::LogRecord) -> wasmtime::Result<()> {
        let severity = data.severity_number.filter(|number| *number <= 24);
        let severity = severity.map_or(0, i32::from);
        let line = line(&data, severity);
        let span = data.span_id.as_deref().and_then(span_id);
        let span = span.unwrap_or_else(|| self.current());
        self.log.told(Some(&line), |export| {
            export.log("wasi:otel", span, || record(data, severity));
        });
        Ok(())
    }
}

/// The record as a line of the task's log.
fn line(data: &logs::LogRecord, severity: i32) -> String {
    let level = data.severity_text.as_deref();
    let level = level.unwrap_or_else(|| severity_name(severity));
    let scope = data.instrumentation_scope.as_ref();
    let context = data.event_name.as_deref();
    let context = context.or(scope.map(|scope| scope.name.as_str()));
    let body = data.body.as_deref().unwrap_or_default();
    // Read as a text, so that a large list costs no more than a look at its first character.
    let message = serde_json::from_str(body).unwrap_or_else(|_| body.to_owned());
    text::line(level, context.unwrap_or_default(), &message)
}

fn severity_name(severity: i32) -> &'static str {
    match severity {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "LOG",
    }
}

fn record(data: logs::LogRecord, severity: i32) -> (InstrumentationScope, LogRecord) {
    let mut room = Room::new();
    let now_ns = clock::unix_ns();
    let scope = data.instrumentation_scope.map(|scope| room.scope(scope));
    let severity_text = room.text(data.severity_text.unwrap_or_default());
    let event_name = room.text(data.event_name.unwrap_or_default());
    // A text can be cut; anything else, if it is too large, is a text as the guest wrote it.
    let body = data.body.map(|body| match serde_json::from_str(&body) {
        Ok(text) => text_value(room.text(text)),
        Err(_) if room.item(body.len()) => any_value(&body),
        Err(_) => text_value(room.text(body)),
    });
    let mut dropped = 0;
    let attributes = room.attributes(data.attributes.unwrap_or_default(), &mut dropped);
    let record = LogRecord {
        time_unix_nano: data.timestamp.map_or(0, unix_ns),
        observed_time_unix_nano: data.observed_timestamp.map_or(now_ns, unix_ns),
        severity_number: SeverityNumber::try_from(severity)
            .unwrap_or_default()
            .into(),
        severity_text,
        body,
        attributes,
        dropped_attributes_count: dropped,
        event_name,
        ..LogRecord::default()
    };
    (scope.unwrap_or_default(), record)
}

fn unix_ns(time: Datetime) -> u64 {
    let seconds_ns = time.seconds.saturating_mul(1_000_000_000);
    seconds_ns.saturating_add(time.nanoseconds.into())
}

/// An id of 16 hex digits that are not all zero.
fn span_id(text: &str) -> Option<SpanId> {
    hex(text, 16).and_then(|bits| SpanId::from_bits(bits as u64))
}

/// An id of 32 hex digits that are not all zero.
fn trace_id(text: &str) -> Option<TraceId> {
    hex(text, 32).and_then(TraceId::from_bits)
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use vyr_core::digest::Digest;
    use vyr_core::id::{ShardLife, ShardNumber, TaskIdSource};
    use vyr_core::limits::ShardLimits;
    use vyr_core::task::Kind;
    use vyr_core::trace::Record;

    use super::tracing::Host as _;
    use super::*;
    use crate::guest::{Kept, Log};
    use crate::steps::{Steps, Subject};
    use crate::telemetry::TelemetryConfig;

    fn told() -> (Rc<Steps>, Telemetry) {
        let (limits, telemetry) = (ShardLimits::default(), TelemetryConfig::default());
        let steps = Steps::start(ShardNumber(0), &limits, None, telemetry, 1).expect("it starts");
        let steps = Rc::new(steps);
        let mut tasks = TaskIdSource::new(ShardNumber(0), ShardLife(0), 1);
        let subject = Subject {
            task: tasks.next(std::time::SystemTime::now()),
            artifact: Some(Digest::of(b"artifact")),
            kind: Kind::Command,
            trace: steps.trace(None),
            cold: false,
        };
        let telemetry = Telemetry::new(Rc::clone(&steps), subject, Log::new(Kept::new(0)));
        (steps, telemetry)
    }

    fn seen(steps: &Steps) -> Vec<Record> {
        let records = steps.recent().since(0, usize::MAX, |record| Some(*record));
        records.items
    }

    /// A span that claims to be the task's own root, of all time.
    fn forged(telemetry: &mut Telemetry) -> tracing::SpanData {
        let time = |seconds| Datetime {
            seconds,
            nanoseconds: 0,
        };
        tracing::SpanData {
            span_context: telemetry.outer_span_context().expect("a context"),
            parent_span_id: String::new(),
            span_kind: tracing::SpanKind::Internal,
            name: "task".into(),
            start_time: time(0),
            end_time: time(u64::MAX),
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: tracing::Status::Unset,
            instrumentation_scope: tracing::InstrumentationScope {
                name: "forger".into(),
                version: None,
                schema_url: None,
                attributes: Vec::new(),
            },
            dropped_attributes: 0,
            dropped_events: 0,
            dropped_links: 0,
        }
    }

    #[test]
    fn a_span_that_claims_to_be_the_root_is_one_below_it_in_the_tasks_time() {
        let (steps, mut telemetry) = told();
        let root = telemetry.subject.trace.span_id;
        let context = telemetry.outer_span_context().expect("a context");
        telemetry.on_start(context).expect("it is taken");
        assert!(telemetry.open.is_empty());
        let span = forged(&mut telemetry);
        telemetry.on_end(span).expect("it is taken");
        let record = seen(&steps)[0];
        assert!(record.span_id != root && record.parent == Some(root));
        let (began, now) = (telemetry.began_unix_ns(), clock::unix_ns());
        assert!((began..=now).contains(&record.start_unix_ns));
        assert!(record.start_unix_ns + record.duration_ns <= now);
    }

    #[test]
    fn watchers_are_shown_no_more_than_a_tasks_bound() {
        let (steps, mut telemetry) = told();
        let flood = |telemetry: &mut Telemetry| {
            for _ in 0..2 * GUEST_EVENTS_PER_TASK_MAX {
                let span = forged(telemetry);
                telemetry.on_end(span).expect("it is taken");
            }
        };
        flood(&mut telemetry);
        assert_eq!(seen(&steps).len(), GUEST_EVENTS_PER_TASK_MAX as usize);
        telemetry.attach(telemetry.subject);
        flood(&mut telemetry);
        assert_eq!(seen(&steps).len(), 2 * GUEST_EVENTS_PER_TASK_MAX as usize);
    }

    #[test]
    fn ids_that_are_none_are_not_taken() {
        assert!(span_id("00f067aa0ba902b7").is_some());
        for text in [
            "",
            "0",
            "0000000000000000",
            "+0f067aa0ba902b7",
            "00f067aa0ba902b7a",
        ] {
            assert!(span_id(text).is_none(), "{text}");
        }
        assert!(trace_id("0af7651916cd43dd8448eb211c80319c").is_some());
        assert!(trace_id("00f067aa0ba902b7").is_none());
    }
}

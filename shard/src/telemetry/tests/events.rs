//! Guests' own spans and logs on their way to collectors that behave, and that do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use vyr_core::trace::Ring;

use super::super::{EventKind, Exporter, GuestEvent};
use super::quick;
use super::sink::{Answer, Sink};

/// A span, or a log record, with ids of its own.
pub(super) fn event(kind: EventKind, number: u64) -> GuestEvent {
    let (trace_id, id) = (vec![1; 16], (number + 1).to_be_bytes().to_vec());
    let scope = InstrumentationScope {
        name: format!("scope {}", number % 2),
        ..InstrumentationScope::default()
    };
    let message = match kind {
        EventKind::Span => Span {
            trace_id,
            // No other test's span has such an id.
            span_id: [&[0xee], &id[1..]].concat(),
            parent_span_id: vec![7; 8],
            name: "guest".into(),
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_000_000_001,
            ..Span::default()
        }
        .encode_to_vec(),
        EventKind::Log => LogRecord {
            trace_id,
            span_id: id,
            time_unix_nano: 1_700_000_000_000_000_000,
            observed_time_unix_nano: 1_700_000_000_000_000_000,
            ..LogRecord::default()
        }
        .encode_to_vec(),
    };
    GuestEvent {
        kind,
        scope: scope.encode_to_vec(),
        message,
    }
}

#[test]
fn each_kind_arrives_where_its_signal_goes_under_its_scope() {
    let sink = Sink::start(&[]);
    let (_writer, reader) = Ring::new(64);
    let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
    let events = Arc::clone(handle.events());
    for number in 0..6 {
        events.send(event(EventKind::Span, number));
        events.send(event(EventKind::Log, number));
    }
    let _ = handle.flush_and_stop(Duration::from_secs(10));
    let totals = events.totals();
    assert_eq!((totals.spans_exported, totals.logs_exported), (6, 6));
    assert_eq!((sink.spans().len(), sink.logs().len()), (6, 6));
    for batch in sink.batches() {
        let spans = batch.spans().count();
        assert_eq!(spans > 0, batch.path == "/v1/traces", "{}", batch.path);
        for resource in &batch.request.resource_spans {
            assert!(resource.resource.is_some());
            for scope in &resource.scope_spans {
                let name = &scope.scope.as_ref().expect("a scope").name;
                let odd = scope.spans[0].span_id[7].is_multiple_of(2);
                assert_eq!(name == "scope 1", odd, "{name}");
            }
        }
    }
}

#[test]
fn what_the_collector_does_not_take_is_counted() {
    let sink = Sink::start(&[Answer::Reject(2), Answer::Status(400)]);
    let (_writer, reader) = Ring::new(64);
    let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
    let events = Arc::clone(handle.events());
    for wanted in [(3, 2), (3, 7)] {
        for number in 0..5 {
            events.send(event(EventKind::Log, number));
        }
        let end = Instant::now() + Duration::from_secs(30);
        let counted = || {
            let totals = events.totals();
            (totals.logs_exported, totals.logs_dropped)
        };
        // The first five may have been sent one after the other.
        while counted().0 + counted().1 < wanted.0 + wanted.1 {
            assert!(Instant::now() < end, "{:?}", events.totals());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let totals = events.totals();
    assert_eq!(totals.logs_exported + totals.logs_dropped, 10);
    assert!(totals.logs_dropped >= 2, "{totals:?}");
    assert!(
        handle
            .flush_and_stop(Duration::from_secs(10))
            .dropped_export
            == 0
    );
}

#[test]
fn a_collector_that_hangs_does_not_hold_the_end_up() {
    let sink = Sink::start(&[Answer::Hang; 100]);
    let (_writer, reader) = Ring::new(64);
    let mut config = quick(&sink.endpoint());
    config.timeout = Duration::from_secs(60);
    let handle = Exporter::start(config, reader).expect("it starts");
    let events = Arc::clone(handle.events());
    for number in 0..2000 {
        events.send(event(EventKind::Span, number));
    }
    sink.wait_for_requests(1);
    let started = Instant::now();
    let _ = handle.flush_and_stop(Duration::from_millis(100));
    assert!(started.elapsed() < Duration::from_secs(10));
    events.send(event(EventKind::Span, 0));
    assert_eq!(events.totals().spans_dropped, 2001);
}

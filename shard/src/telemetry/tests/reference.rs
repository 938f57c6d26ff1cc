//! OpenTelemetry's own exporter (`opentelemetry-otlp`) is given the same spans, and the collector cannot tell
//! the difference.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as Reference, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use vyr_core::id::{ShardLife, ShardNumber, StateIdSource};
use vyr_core::problem::Code;
use vyr_core::task::Kind;
use vyr_core::trace::{self, Attribute, Detail, Exchange, Method, Record, Ring, ShortText, Step};

use super::super::{Exporter, ExporterConfig};
use super::sink::Sink;
use super::{Tasks, quick, wait_for};

/// Tasks of both kinds, good and bad, and every step that a task can have.
fn records() -> Vec<Record> {
    let mut tasks = Tasks::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut records = tasks.records(Kind::Http, None, Some(parent));
    records.extend(tasks.records(Kind::Command, Some(Code::GuestTrap), None));
    let ids = trace::TraceIdSource::with_seed(5);
    let like = |step, detail| Record {
        span_id: ids.span_id(),
        step,
        detail,
        ..records[0]
    };
    let exchange = Exchange {
        status: 503,
        target: ShortText::new("uplink.example"),
        port: 8080,
        ..Exchange::received(Method::Post, "")
    };
    let failed = Exchange {
        status: 0,
        failure: Some("connection_refused"),
        ..exchange
    };
    let state = StateIdSource::new(ShardNumber(3), ShardLife(0), 9).next(SystemTime::now());
    let name = ShortText::new("buffer");
    let more = [
        like(Step::Forward, Detail::None),
        like(Step::Bind, Detail::Bind { state, name }),
        like(Step::Call, Detail::Exchange(exchange)),
        like(Step::Call, Detail::Exchange(failed)),
    ];
    records.extend(more);
    records
}

/// What an application would give to the SDK.
fn span_data(record: &Record) -> SpanData {
    let mut attributes = Vec::new();
    record.attributes(|key, value| {
        attributes.push(match value {
            Attribute::Text(text) => KeyValue::new(key, text.to_owned()),
            Attribute::Number(number) => KeyValue::new(key, number),
            Attribute::Flag(flag) => KeyValue::new(key, flag),
            Attribute::Task(task) => KeyValue::new(key, task.to_string()),
            Attribute::State(state) => KeyValue::new(key, state.to_string()),
            Attribute::Digest(digest) => KeyValue::new(key, digest.to_string()),
        });
    });
    let from_outside = matches!(record.step, Step::Task | Step::Forward);
    let start_time = UNIX_EPOCH + Duration::from_nanos(record.start_unix_ns);
    SpanData {
        span_context: SpanContext::new(
            record.trace_id.to_bits().into(),
            record.span_id.to_bits().into(),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: record.parent.map_or(0, |parent| parent.to_bits()).into(),
        parent_span_is_remote: from_outside && record.parent.is_some(),
        span_kind: match record.span_kind() {
            trace::SpanKind::Internal => SpanKind::Internal,
            trace::SpanKind::Server => SpanKind::Server,
            trace::SpanKind::Client => SpanKind::Client,
            trace::SpanKind::Consumer => SpanKind::Consumer,
        },
        name: record.name().to_owned().into(),
        start_time,
        end_time: start_time + Duration::from_nanos(record.duration_ns),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if record.is_error() {
            Status::error(record.failure().unwrap_or_default())
        } else {
            Status::Unset
        },
        instrumentation_scope: InstrumentationScope::builder("vyr").build(),
    }
}

/// A status that says nothing may as well be absent.
fn without_empty_status(mut span: Span) -> Span {
    span.status = span.status.filter(|status| *status != Default::default());
    span
}

#[test]
fn the_spans_are_those_that_opentelemetrys_own_exporter_sends() {
    let records = records();
    let (ours, theirs) = (Sink::start(&[]), Sink::start(&[]));

    let (writer, reader) = Ring::new(64);
    let config = ExporterConfig {
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        ..quick(&ours.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    records.iter().for_each(|record| writer.write(*record));
    let count = records.len() as u64;
    wait_for(&handle, "export", |totals| totals.exported == count);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let reference = Reference::builder()
            .with_http()
            .with_http_client(reqwest::Client::new())
            .with_endpoint(format!("{}/v1/traces", theirs.endpoint()))
            .build()
            .expect("an exporter");
        let spans = records.iter().map(span_data).collect();
        reference.export(spans).await.expect("it is taken");
    });
    let spans = |sink: &Sink| -> Vec<Span> {
        let mut spans: Vec<_> = sink.spans().into_iter().map(without_empty_status).collect();
        spans.sort_by(|one, other| one.span_id.cmp(&other.span_id));
        spans
    };
    assert_eq!(spans(&ours), spans(&theirs));
}

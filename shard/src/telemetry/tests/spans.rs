//! What a collector receives.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use vyr_core::digest::Digest;
use vyr_core::problem::Code;
use vyr_core::task::Kind;
use vyr_core::trace::{Record, Ring};

use super::super::{ExportTotals, Exporter, ExporterConfig};
use super::sink::{Sink, attribute};
use super::{STEPS, Tasks, quick, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

pub(super) fn check_span(span: &Span, record: &Record) {
    let step = record.step;
    assert_eq!(span.name, step.as_str());
    assert_eq!(
        span.trace_id,
        record.trace_id.to_bits().to_be_bytes(),
        "{step}"
    );
    assert_eq!(
        span.span_id,
        record.span_id.to_bits().to_be_bytes(),
        "{step}"
    );
    let parent = record
        .parent
        .map(|parent| parent.to_bits().to_be_bytes().to_vec());
    assert_eq!(span.parent_span_id, parent.unwrap_or_default(), "{step}");
    assert_eq!(span.start_time_unix_nano, record.start_unix_ns, "{step}");
    assert_eq!(
        span.end_time_unix_nano,
        record.start_unix_ns + record.duration_ns,
        "{step}"
    );
    let task = attribute(&span.attributes, "vyr.task.id");
    assert_eq!(task, Some(record.task.to_string()), "{step}");
    let code = record.code.map(|code| code.as_str().to_owned());
    assert_eq!(attribute(&span.attributes, "error.type"), code, "{step}");
}

#[test]
fn every_span_arrives_with_its_ids_parents_times_and_attributes() {
    let sink = Sink::start(&[]);
    let (writer, reader) = Ring::new(64);
    let mut config = quick(&sink.endpoint());
    config.resource = vec![("deployment.environment.name".into(), "test".into())];
    let handle = Exporter::start(config, reader).expect("it starts");
    let mut tasks = Tasks::new();
    let sampled = format!("00-{TRACE}-{SPAN}-01");
    let made: Vec<Record> = [
        tasks.records(Kind::Http, None, Some(&sampled)),
        tasks.records(Kind::Command, Some(Code::GuestTrap), None),
    ]
    .concat();
    made.iter().for_each(|record| writer.write(*record));
    wait_for(&handle, "export", |totals| totals.exported == 2 * STEPS);

    let spans: HashMap<Vec<u8>, Span> = sink
        .spans()
        .into_iter()
        .map(|span| (span.span_id.clone(), span))
        .collect();
    assert_eq!(spans.len(), made.len());
    for record in &made {
        check_span(
            &spans[record.span_id.to_bits().to_be_bytes().as_slice()],
            record,
        );
    }
    let span = |task: usize, step: usize| {
        let record = &made[task * STEPS as usize + step];
        &spans[record.span_id.to_bits().to_be_bytes().as_slice()]
    };
    let (http, command) = (span(0, 5), span(1, 5));
    assert_eq!(http.kind(), SpanKind::Server);
    assert_eq!(command.kind(), SpanKind::Consumer);
    assert_eq!(span(0, 2).kind(), SpanKind::Internal);
    assert_eq!(
        http.trace_id,
        u128::from_str_radix(TRACE, 16)
            .map(u128::to_be_bytes)
            .expect("hex")
    );
    assert_eq!(http.flags, 0x301, "sampled, and the parent is remote");
    assert_eq!(command.flags, 0x101, "sampled, and no parent is remote");
    for (name, value) in [
        (
            "vyr.artifact.digest",
            Digest::of(b"artifact").to_string().as_str(),
        ),
        ("vyr.task.kind", "command"),
        ("vyr.task.status", "failed"),
    ] {
        assert_eq!(
            attribute(&command.attributes, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    let status = |span: &Span| {
        span.status
            .clone()
            .map(|status| (status.code(), status.message))
    };
    assert_eq!(status(http), None);
    assert_eq!(
        status(command),
        Some((StatusCode::Error, "guest_trap".into()))
    );
    assert_eq!(
        status(span(1, 3)),
        Some((StatusCode::Error, "guest_trap".into())),
        "execute"
    );
    assert_eq!(status(span(1, 1)), None, "queue");

    let batch = &sink.batches()[0];
    assert_eq!(batch.path, "/v1/traces");
    assert!(
        batch
            .headers
            .contains("content-type: application/x-protobuf"),
        "{}",
        batch.headers
    );
    let resource = &batch.request.resource_spans[0]
        .resource
        .as_ref()
        .expect("a resource");
    for (name, value) in [
        ("service.name", "vyr"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("process.pid", std::process::id().to_string().as_str()),
        ("vyr.shard", "3"),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(
            attribute(&resource.attributes, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    assert!(attribute(&resource.attributes, "host.name").is_some_and(|host| !host.is_empty()));
}

#[test]
fn a_burst_arrives_whole_in_bounded_batches() {
    const TASKS: u64 = 5_000;
    let sink = Sink::start(&[]);
    let (writer, reader) = Ring::new(1 << 16);
    let config = ExporterConfig {
        batch_records_max: 1000,
        // A batch that is answered late would be sent again.
        timeout: Duration::from_secs(30),
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    Tasks::new().write(&writer, TASKS);
    let totals = handle.flush_and_stop(Duration::from_secs(60));
    assert_eq!(
        totals,
        ExportTotals {
            exported: TASKS * STEPS,
            ..ExportTotals::default()
        }
    );
    assert!(
        sink.batches()
            .iter()
            .all(|batch| batch.spans().count() <= 1000)
    );
    let spans = sink.spans();
    let mut traces: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    spans
        .iter()
        .for_each(|span| traces.entry(&span.trace_id).or_default().push(span));
    assert_eq!(traces.len() as u64, TASKS);
    for spans in traces.values() {
        let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        let mut wanted = [
            "task",
            "submit",
            "queue",
            "instantiate",
            "execute",
            "complete",
        ];
        wanted.sort_unstable();
        assert_eq!(names, wanted, "a trace has each step once");
        let root = spans
            .iter()
            .find(|span| span.name == "task")
            .expect("a root");
        for span in spans.iter().filter(|span| span.name != "task") {
            assert_eq!(span.parent_span_id, root.span_id);
        }
    }
}

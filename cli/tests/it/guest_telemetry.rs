//! What guests tell of their own: it is in their task's trace, within bounds, and all of it is counted.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use crate::sink::Sink;
use crate::support::*;

/// What a task may send, as `vyr_core::limits` has it.
const EVENTS_PER_TASK_MAX: u64 = 1000;

/// A node whose telemetry goes to the sink, and the folder of its configuration.
struct Observed {
    sink: Sink,
    node: Node,
}

impl Observed {
    fn start(telemetry: &str, artifact_name: &str) -> Self {
        Self::start_with(telemetry, artifact_name, &[])
    }

    fn start_with(telemetry: &str, artifact_name: &str, more: &[&str]) -> Self {
        let sink = Sink::start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("vyr.toml");
        std::fs::write(&config, format!("[telemetry]\n{telemetry}\n")).expect("written");
        let config = config.to_str().expect("UTF-8");
        let mut arguments = vec!["--otlp-endpoint", &sink.url, "--config", config];
        arguments.extend(more);
        let node = Node::with_artifact(&arguments, "telemetry-probe.wasm", artifact_name);
        Self { sink, node }
    }

    /// Puts the guest under another name, with a manifest.
    fn put(&self, name: &str, manifest: &str) {
        let path = self.node.dir.path().join("manifest.toml");
        std::fs::write(&path, manifest).expect("written");
        let (file, path) = (guest("telemetry-probe.wasm"), path.to_str().expect("UTF-8"));
        let arguments = ["artifact", "put", &file, "--name", name, "--manifest", path];
        let put = self.node.vyr(&arguments, b"");
        assert!(put.status.success(), "{}", stderr(&put));
    }

    /// Runs a command task; its output.
    fn run(&self, words: &[&str]) -> String {
        let arguments = ["task", "submit", "probe", "--wait", "--"];
        let output = self.node.vyr(&[&arguments, words].concat(), b"");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    /// The id of the only task.
    fn task(&self) -> String {
        let tasks = self.node.json("/v0/tasks");
        tasks["tasks"][0]["id"].as_str().expect("an id").to_owned()
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.sink.bodies("traces").into_iter();
        let requests = bodies.map(|body| {
            ExportTraceServiceRequest::decode(body.as_slice()).expect("it can be read")
        });
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    fn logs(&self) -> Vec<LogRecord> {
        let bodies = self.sink.bodies("logs").into_iter();
        let requests = bodies
            .map(|body| ExportLogsServiceRequest::decode(body.as_slice()).expect("it can be read"));
        let resources = requests.flat_map(|request| request.resource_logs);
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }

    /// The count of all shards.
    fn count(&self, metric: &str, outcome: &str) -> u64 {
        let text = self.node.request("GET", "/metrics", &[], b"").text();
        let outcome = format!("outcome=\"{outcome}\"");
        let name = format!("{metric}_total{{");
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&name) && line.contains(&outcome));
        let values = lines.map(|line| line.rsplit(' ').next().expect("a value"));
        values
            .map(|value| value.parse::<u64>().expect("a count"))
            .sum()
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    pair.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

fn body(log: &LogRecord) -> &str {
    match log.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("the body is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn spans_of_a_guest_are_nested_in_its_tasks_trace() {
    let observed = Observed::start("", "probe");
    let ids = observed.run(&["tell"]);
    let ids: Vec<&str> = ids.lines().collect();
    let [trace, root, outer, inner] = ids[..] else {
        panic!("{ids:?}");
    };
    let task = observed.task();
    until("all spans are there", || observed.spans().len() == 8);
    let spans = observed.spans();
    for span in &spans {
        assert_eq!(hex(&span.trace_id), trace, "{}", span.name);
        assert_eq!(text(&span.attributes, "vyr.task.id"), task);
    }
    let span = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        named.next().unwrap_or_else(|| panic!("no span {name}"))
    };
    assert_eq!(hex(&span("task").span_id), root);
    assert_eq!(hex(&span("outer").span_id), outer);
    assert_eq!(hex(&span("outer").parent_span_id), root);
    assert_eq!(hex(&span("inner").span_id), inner);
    assert_eq!(
        hex(&span("inner").parent_span_id),
        outer,
        "the current span was the outer one"
    );
    let inner = span("inner");
    assert_eq!(inner.kind(), SpanKind::Client);
    let attribute = |key| value(&inner.attributes, key);
    assert_eq!(attribute("number"), Some(&Value::IntValue(42)));
    assert_eq!(attribute("text"), Some(&Value::StringValue("a".into())));
    assert!(matches!(attribute("list"), Some(Value::ArrayValue(list)) if list.values.len() == 2));
    assert_eq!(inner.events[0].name, "half-way");
    assert_eq!(
        value(&inner.events[0].attributes, "step"),
        Some(&Value::IntValue(2))
    );
    let status = inner.status.as_ref().expect("a status");
    assert_eq!(
        (status.code(), status.message.as_str()),
        (StatusCode::Error, "it failed")
    );
    let (execute, outer) = (span("execute"), span("outer"));
    for (outside, inside) in [(execute, outer), (outer, inner)] {
        assert!(
            outside.start_time_unix_nano <= inside.start_time_unix_nano
                && inside.end_time_unix_nano <= outside.end_time_unix_nano,
            "{} encloses {}",
            outside.name,
            inside.name
        );
    }
    until("they are counted", || {
        observed.count("vyr_guest_spans", "exported") == 2
    });
    assert_eq!(
        observed.sink.bodies("logs").len(),
        0,
        "nobody asked for logs"
    );
    assert_eq!(observed.count("vyr_log_records", "dropped"), 0);
}

#[test]
fn logs_are_kept_with_the_task_line_by_line() {
    let observed = Observed::start("", "probe");
    observed.run(&["tell"]);
    let log = observed.node.vyr(&["task", "logs", &observed.task()], b"");
    let log = stdout(&log);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "TRACE probe: a message of level trace",
            "DEBUG probe: a message of level debug",
            "INFO probe: a message of level info",
            "WARN probe: a message of level warn",
            "ERROR probe: a message of level error",
            "CRITICAL probe: a message of level critical",
            "INFO: two\\nlines",
            "NOTICE probe.inside: inside",
            "first line",
            "second line",
            "and a line without an end",
        ]
    );
}

#[test]
fn logs_are_exported_with_the_ids_of_task_and_trace_when_asked() {
    let observed = Observed::start("guest_logs = true", "probe");
    let ids = observed.run(&["tell"]);
    let ids: Vec<&str> = ids.lines().collect();
    let [trace, root, _, inner] = ids[..] else {
        panic!("{ids:?}");
    };
    let task = observed.task();
    until("all logs are there", || observed.logs().len() == 11);
    let logs = observed.logs();
    for log in &logs {
        assert_eq!(hex(&log.trace_id), trace, "{}", body(log));
        assert_eq!(text(&log.attributes, "vyr.task.id"), task);
        assert!(text(&log.attributes, "vyr.artifact.digest").starts_with("sha256:"));
        assert!(log.observed_time_unix_nano > 0);
        assert_eq!(log.flags, 1, "the trace is sampled");
        let place = if body(log) == "inside" { inner } else { root };
        assert_eq!(hex(&log.span_id), place, "{}", body(log));
    }
    let by_body: HashMap<&str, &LogRecord> = logs.iter().map(|log| (body(log), log)).collect();
    let warning = by_body["a message of level warn"];
    assert_eq!(
        (warning.severity_number, warning.severity_text.as_str()),
        (13, "WARN")
    );
    assert_eq!(text(&warning.attributes, "vyr.log.context"), "probe");
    assert_eq!(text(&warning.attributes, "vyr.log.source"), "wasi:logging");
    assert_eq!(by_body["a message of level critical"].severity_number, 21);
    assert_eq!(by_body["two\nlines"].severity_number, 9);
    let inside = by_body["inside"];
    assert_eq!(
        (inside.severity_number, inside.severity_text.as_str()),
        (10, "NOTICE")
    );
    assert_eq!(inside.event_name, "probe.inside");
    assert_eq!(
        value(&inside.attributes, "count"),
        Some(&Value::IntValue(3))
    );
    for line in ["first line", "second line", "and a line without an end"] {
        assert_eq!(by_body[line].severity_number, 0, "{line}");
        assert_eq!(text(&by_body[line].attributes, "vyr.log.source"), "stdio");
    }
}

#[test]
fn a_flood_is_bounded_and_counted() {
    const FLOOD: u64 = 20_000;
    let observed = Observed::start("guest_logs = true", "probe");
    observed.run(&["flood", &FLOOD.to_string()]);
    // Of each kind so many were made: spans, logs, and lines of standard error.
    let made =
        |metric: &str| observed.count(metric, "exported") + observed.count(metric, "dropped");
    until("every span is counted", || made("vyr_guest_spans") == FLOOD);
    until("every log is counted", || {
        made("vyr_log_records") == 2 * FLOOD
    });
    let spans = observed.spans();
    let spans = spans.iter().filter(|span| span.name == "flood").count() as u64;
    let logs = observed.logs().len() as u64;
    assert_eq!(spans, observed.count("vyr_guest_spans", "exported"));
    assert_eq!(logs, observed.count("vyr_log_records", "exported"));
    assert_eq!(spans + logs, EVENTS_PER_TASK_MAX);
    // The next task has its own bound.
    observed.run(&["tell"]);
    until("the next task is heard", || {
        observed.logs().len() as u64 == logs + 11
    });
}

#[test]
fn readiness_tells_what_was_dropped_and_by_whom() {
    const FLOOD: u64 = EVENTS_PER_TASK_MAX + 500;
    let observed = Observed::start_with("", "probe", &["--shards", "1"]);
    observed.run(&["flood", &FLOOD.to_string()]);
    let ready = "ready\nshard 0: 6 trace records exported, 0 dropped because the exporter was too slow, 0 because the \
        collector was; of guests' own, 500 spans and 0 log records dropped\n";
    let mut text = String::new();
    until("the records are exported", || {
        text = observed.node.request("GET", "/readyz", &[], b"").text();
        text.contains("6 trace records")
    });
    assert_eq!(text, ready);
}

#[test]
fn what_is_too_large_is_cut() {
    let observed = Observed::start("guest_logs = true", "probe");
    observed.run(&["large", "1000000"]);
    until("all is there", || {
        observed.spans().len() == 8 && observed.logs().len() == 2
    });
    let spans = observed.spans();
    let cut = spans
        .iter()
        .find(|span| span.name.starts_with("large x"))
        .expect("the span with the large name");
    assert!(cut.encoded_len() < 20_000, "{}", cut.encoded_len());
    let many = spans.iter().find(|span| span.name == "many");
    let many = many.expect("the span with many attributes");
    assert_eq!(value(&many.attributes, "small"), Some(&Value::IntValue(1)));
    assert!(value(&many.attributes, "large").is_none());
    // The task's id and the artifact's digest are not the guest's.
    let kept = many.attributes.len() as u32 - 2;
    assert_eq!(kept + many.dropped_attributes_count, 10_002);
    assert!(many.encoded_len() < 20_000, "{}", many.encoded_len());
    for log in observed.logs() {
        assert!(log.encoded_len() < 20_000, "{}", log.encoded_len());
        assert!(body(&log).len() >= 8192 - 1, "{}", body(&log).len());
    }
}

#[test]
fn a_trace_of_the_guests_own_making_is_the_tasks() {
    let observed = Observed::start("", "probe");
    observed.run(&["foreign"]);
    until("all spans are there", || observed.spans().len() == 7);
    let spans = observed.spans();
    let span = |name: &str| spans.iter().find(|span| span.name == name).expect("a span");
    assert_eq!(span("foreign").trace_id, span("task").trace_id);
    assert_eq!(span("foreign").parent_span_id, span("task").span_id);
}

#[test]
fn spans_of_a_trace_that_is_not_sampled_stay_here() {
    let observed = Observed::start("guest_logs = true", "probe");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-00");
    let answer = observed
        .node
        .request("GET", "/run/probe/tell", &[&header], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().lines().next(), Some(trace));
    until("they are counted", || {
        observed.count("vyr_guest_spans", "unsampled") == 2
    });
    // Logs are exported whatever the trace is; they say that it is not there.
    until("all logs are there", || observed.logs().len() == 11);
    assert!(observed.logs().iter().all(|log| log.flags == 0));
    assert!(observed.spans().is_empty());
}

#[test]
fn an_outgoing_call_is_inside_the_guests_span() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let observed = Observed::start_with("", "fresh", &["--outgoing-host", &address]);
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the guest calls");
        let mut lines = BufReader::new(&stream)
            .lines()
            .map(|line| line.expect("text"));
        let traceparent =
            lines.find_map(|line| line.strip_prefix("traceparent: ").map(str::to_owned));
        drop(lines);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        (&stream).write_all(answer).expect("the guest reads");
        traceparent.expect("the trace is handed on")
    });
    let manifest = format!("[capabilities]\noutgoing_hosts = [\"{address}\"]\n");
    observed.put("caller", &manifest);
    let path = format!("/run/caller/call/{address}");
    let answer = observed.node.request("GET", &path, &[], b"");
    let calling = answer.text().trim().to_owned();
    assert_eq!(calling.len(), 16, "{calling}");
    let traceparent = server.join().expect("no panic");
    until("all spans are there", || observed.spans().len() == 8);
    let spans = observed.spans();
    let mut calls = spans
        .iter()
        .filter(|span| hex(&span.parent_span_id) == calling);
    let call = calls.next().expect("a span inside the guest's");
    assert_eq!(call.name, "GET");
    assert!(
        traceparent.contains(&hex(&call.span_id)) && traceparent.contains(&hex(&call.trace_id)),
        "{traceparent}"
    );
}

#[test]
fn an_instance_that_is_used_again_tells_of_the_task_it_serves() {
    let observed = Observed::start("guest_logs = true", "fresh");
    observed.put("reused", "[instances]\npolicy = \"reuse\"\n");
    let address = observed.node.shards()[0]["address"]
        .as_str()
        .expect("each shard has an address")
        .to_owned();
    let tell = |digit: &str| {
        let trace = digit.repeat(32);
        let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
        let answer = request(&address, "GET", "/run/reused/tell", &[&header], b"");
        let answer = answer.expect("the shard answers").text();
        assert_eq!(answer.lines().next(), Some(trace.as_str()));
        answer.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let told: Vec<_> = ["1", "2", "3"].map(tell).into();
    let tasks = observed.node.json("/v0/tasks");
    assert_eq!(tasks["tasks"][0]["usage"]["reused"], true, "{tasks}");
    until("the logs are there", || observed.logs().len() == 3 * 11);
    until("the spans are there", || observed.spans().len() == 3 * 8);
    let (logs, spans) = (observed.logs(), observed.spans());
    for [trace, root, outer, _] in told.iter().map(|ids| ids.first_chunk().expect("four ids")) {
        let of_trace = |id: &[u8]| hex(id) == *trace;
        let count = logs.iter().filter(|log| of_trace(&log.trace_id)).count();
        assert_eq!(count, 11, "{trace}");
        let mut outers = spans.iter().filter(|span| hex(&span.span_id) == *outer);
        let span = outers.next().expect("the outer span");
        assert!(of_trace(&span.trace_id) && hex(&span.parent_span_id) == *root);
    }
}

#[test]
fn watchers_see_the_spans_without_a_collector() {
    let node = Node::with_artifact(&[], "telemetry-probe.wasm", "probe");
    let output = node.vyr(&["task", "submit", "probe", "--wait", "--", "tell"], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let tasks = node.json("/v0/tasks");
    let task = tasks["tasks"][0]["id"].as_str().expect("an id");
    let stream = node.vyr(&["traces", "stream", "--task", task], b"");
    let shown = stdout(&stream);
    assert!(
        shown.contains("outer") && shown.contains("inner"),
        "{shown}{}",
        stderr(&stream)
    );
    let metrics = node.request("GET", "/metrics", &[], b"").text();
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("vyr_guest_spans_total{"));
    assert!(counted.clone().count() > 0);
    assert!(counted.into_iter().all(|line| line.ends_with(" 0")));
}

#[test]
fn metrics_of_guests_are_refused_with_a_reason() {
    let node = Node::with_artifact(&[], "telemetry-probe.wasm", "probe");
    let answer = node.request("GET", "/run/probe/metrics", &[], b"");
    assert!(
        answer.text().contains("does not collect"),
        "{}",
        answer.text()
    );
}

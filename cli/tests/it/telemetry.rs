//! A node's traces reach a collector, all of them.

use crate::sink::Sink;
use crate::support::*;

fn traces(sink: &Sink) -> Vec<u8> {
    sink.bodies("traces").concat()
}

fn exported(node: &Node) -> u64 {
    metric(node, "vyr_trace_records_total", &["outcome=\"exported\""]) as u64
}

#[test]
fn every_step_of_every_task_reaches_the_collector() {
    const TASKS: u64 = 50;
    /// The task as a whole, and submit, queue, instantiate, execute, complete.
    const SPANS: u64 = 6;
    let sink = Sink::start();
    let node = Node::with_artifact(&["--otlp-endpoint", &sink.url], "probe.wasm", "probe");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    for _ in 0..TASKS {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[&header], b"")
                .status,
            200
        );
    }
    until("every span is exported", || {
        exported(&node) == TASKS * SPANS
    });
    let bytes = traces(&sink);
    let count = |needle: &[u8]| {
        bytes
            .windows(needle.len())
            .filter(|window| *window == needle)
            .count() as u64
    };
    let trace_bytes: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&trace[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    assert_eq!(
        count(&trace_bytes),
        TASKS * SPANS,
        "each in the client's trace"
    );
    for step in ["submit", "queue", "instantiate", "execute", "complete"] {
        assert_eq!(count(step.as_bytes()), TASKS, "{step}");
    }
    // What is still under way when the node is told to stop is sent before it ends.
    let header = format!("traceparent: 00-{}-b7ad6b7169203331-01", "1".repeat(32));
    assert_eq!(
        node.request("GET", "/run/probe/hello", &[&header], b"")
            .status,
        200
    );
    assert!(node.terminate().success());
    let bytes = traces(&sink);
    assert_eq!(
        bytes
            .windows(16)
            .filter(|window| **window == [0x11; 16])
            .count() as u64,
        SPANS
    );
}

#[test]
fn a_collector_that_is_not_there_stops_nobody() {
    let node = Node::with_artifact(
        &["--otlp-endpoint", "http://127.0.0.1:1"],
        "probe.wasm",
        "probe",
    );
    for _ in 0..20 {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            200
        );
    }
    let other = run(
        &[
            "node",
            "--listen",
            "127.0.0.1:0",
            "--otlp-endpoint",
            "https://x",
            "--data-dir",
            node.dir.path().join("other").to_str().expect("UTF-8"),
        ],
        b"",
    );
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("https"), "{}", stderr(&other));
}

#[test]
fn the_share_of_traces_that_is_exported_can_be_set() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("vyr.toml");
    std::fs::write(&config, "[telemetry]\nsample_ratio = 0.0\n").expect("written");
    let config = config.to_str().expect("UTF-8");
    let arguments = ["--otlp-endpoint", &sink.url, "--config", config];
    let node = Node::with_artifact(&arguments, "probe.wasm", "probe");
    let get = |headers: &[&str]| node.request("GET", "/run/probe/hello", headers, b"").status;
    for _ in 0..20 {
        assert_eq!(get(&[]), 200);
    }
    // A client that records its trace gets all of it, whatever the share.
    let header = format!("traceparent: 00-{}-b7ad6b7169203331-01", "1".repeat(32));
    assert_eq!(get(&[&header]), 200);
    until("the client's trace is exported", || exported(&node) == 6);
    assert!(node.terminate().success());
    let spans = traces(&sink);
    let steps = spans.windows(8).filter(|window| window == b"complete");
    assert_eq!(steps.count(), 1, "nothing else is exported");
}

#[test]
fn a_share_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("vyr.toml");
    std::fs::write(&config, "[telemetry]\nsample_ratio = 1.5\n").expect("written");
    let refused = run(&["node", "--config", config.to_str().expect("UTF-8")], b"");
    assert_eq!(refused.status.code(), Some(1));
    let error = stderr(&refused);
    assert!(error.contains("sample_ratio is 1.5"), "{error}");
}

#[test]
fn logs_can_be_json_with_the_ids_of_task_and_trace() {
    let mut command = vyr(&["run", &guest("event-transform.wasm")]);
    command
        .env("VYR_LOG", "debug")
        .env("VYR_LOG_FORMAT", "json");
    let output = finish(command, b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = stderr(&output);
    let ended = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == "a task has ended")
        .expect("the task's end is logged");
    assert!(ended["task"].as_str().is_some_and(|id| id.starts_with('t')));
    assert!(ended["trace_id"].as_str().is_some_and(|id| id.len() == 32));
    assert_eq!(ended["status"], "succeeded");
}

#[test]
fn the_collector_and_the_service_can_be_named_by_the_environment() {
    let sink = Sink::start();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url.as_str()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=of-all,team=shop"),
        ("OTEL_SERVICE_NAME", "checkout"),
    ];
    let node = Node::start_with(&["--shards", "1"], &environment);
    node.put("probe.wasm", "probe");
    let hello = node.request("GET", "/run/probe/hello", &[], b"");
    assert_eq!(hello.status, 200);
    assert!(node.terminate().success());
    let spans = traces(&sink);
    let has = |text: &str| {
        let mut windows = spans.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    };
    assert!(has("service.instance.id") && has("shop") && has("checkout"));
    assert!(!has("of-all"));
    // What is said of the node itself wins.
    let other = Sink::start();
    let arguments = ["--shards", "1", "--otlp-endpoint", &other.url];
    let node = Node::start_with(&arguments, &environment);
    node.put("probe.wasm", "probe");
    let hello = node.request("GET", "/run/probe/hello", &[], b"");
    assert_eq!(hello.status, 200);
    assert!(node.terminate().success());
    assert_eq!(traces(&sink).len(), spans.len());
    assert!(!traces(&other).is_empty());
}

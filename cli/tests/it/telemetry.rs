//! A node's traces reach a collector, all of them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

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
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
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

#[test]
fn http_spans_have_the_names_that_opentelemetry_gives_them() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the guest calls");
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let mut head = [0; 4096];
        let count = stream.read(&mut head).expect("the guest asks");
        stream.write_all(answer).expect("the guest reads");
        String::from_utf8_lossy(&head[..count]).into_owned()
    });
    let host = format!("127.0.0.1:{port}");
    let node = Node::start(&["--outgoing-host", &host]);
    let manifest = node.dir.path().join("manifest.toml");
    let text = format!("[capabilities]\noutgoing_hosts = [\"{host}\"]\n");
    std::fs::write(&manifest, text).expect("written");
    let file = guest("probe.wasm");
    let manifest = manifest.to_str().expect("UTF-8");
    let put = [
        "artifact",
        "put",
        &file,
        "--name",
        "probe",
        "--manifest",
        manifest,
    ];
    let put = node.vyr(&put, b"");
    assert!(put.status.success(), "{}", stderr(&put));
    // The attributes of a task's spans, and whether each is an error.
    let spans = |path: &str| -> BTreeMap<String, (BTreeMap<String, String>, bool)> {
        let answer = node.request("GET", path, &[], b"");
        let task = answer.header("vyr-task-id").expect("a task").to_owned();
        let stream = node.vyr(
            &["traces", "stream", "--task", &task, "--output", "json"],
            b"",
        );
        let spans = stdout(&stream);
        let spans = spans.lines().map(|line| {
            let span: Value = serde_json::from_str(line).expect("a span");
            let attributes = span["attributes"].as_array().expect("a list").iter();
            let attributes = attributes.map(|attribute| {
                let value = attribute["value"].as_object().expect("an object").values();
                let value = value.map(|value| value.to_string().replace('"', ""));
                (
                    attribute["key"].as_str().expect("text").to_owned(),
                    value.collect(),
                )
            });
            let name = span["name"].as_str().expect("text").to_owned();
            (name, (attributes.collect(), span["status"]["code"] == 2))
        });
        spans.collect()
    };
    let has = |attributes: &BTreeMap<String, String>, wanted: &[(&str, &str)]| {
        for (name, value) in wanted {
            assert_eq!(
                attributes.get(*name).map(String::as_str),
                Some(*value),
                "{name}"
            );
        }
    };
    let (task, is_error) = &spans("/run/probe/status/404?secret=1")["task"];
    has(
        task,
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/status/404"),
            ("http.response.status_code", "404"),
        ],
    );
    assert!(!is_error && !task.contains_key("error.type"), "{task:?}");
    let (task, is_error) = &spans("/run/probe/status/503")["task"];
    has(
        task,
        &[("http.response.status_code", "503"), ("error.type", "503")],
    );
    assert!(*is_error);
    let (call, is_error) = &spans(&format!("/run/probe/outgoing?url=http://{host}/"))["GET"];
    has(
        call,
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port.to_string()),
            ("http.response.status_code", "404"),
            ("error.type", "404"),
        ],
    );
    assert!(*is_error && !call.contains_key("url.path"), "{call:?}");
    assert!(
        server
            .join()
            .expect("no panic")
            .contains("traceparent: 00-")
    );
}

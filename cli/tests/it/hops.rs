//! Spans of requests that another shard was asked for: each is the parent of a task, or is not there.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::sink::Sink;
use crate::support::*;

const JSON: &str = "content-type: application/json";

fn node(sink: &Sink) -> Node {
    let node = Node::start(&["--otlp-endpoint", &sink.url]);
    let manifest = node.dir.path().join("manifest.toml");
    std::fs::write(&manifest, "[[state]]\nname = \"a\"\n").expect("written");
    let (file, manifest) = (guest("probe.wasm"), manifest.to_str().expect("UTF-8"));
    let put = ["artifact", "put", &file, "--name", "probe", "--manifest"];
    let output = node.vyr(&[&put[..], &[manifest]].concat(), b"");
    assert!(output.status.success(), "{}", stderr(&output));
    node
}

fn addresses(node: &Node) -> Vec<String> {
    let shards = node.shards().into_iter();
    let address = |shard: serde_json::Value| shard["address"].as_str().map(str::to_owned);
    shards.filter_map(address).collect()
}

/// A client's trace, told from others by its first digits.
fn traceparent(number: usize) -> String {
    format!(
        "traceparent: 00-{number:08x}{}-{}-01",
        "1".repeat(24),
        "2".repeat(16)
    )
}

fn spans(sink: &Sink) -> Vec<Span> {
    let bodies = sink.bodies("traces").into_iter();
    let requests = bodies
        .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).expect("it can be read"));
    let resources = requests.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The parents of tasks' roots and the hops, by trace.
fn roots_and_hops(spans: &[Span]) -> (HashMap<Vec<u8>, Vec<u8>>, Vec<&Span>) {
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let roots = named("task").map(|span| (span.trace_id.clone(), span.parent_span_id.clone()));
    (roots.collect(), named("forward").collect())
}

#[test]
fn a_task_that_fails_on_another_shard_has_its_hop_and_its_response_names_both() {
    let sink = Sink::start();
    let node = node(&sink);
    let state = json!({"shard": 1, "linger_ms": 60_000}).to_string();
    let state = node.request("POST", "/v0/states", &[JSON], state.as_bytes());
    let bind = format!(
        "vyr-bind: {}=a",
        state.json()["id"].as_str().expect("an id")
    );
    for (number, address) in addresses(&node).iter().enumerate() {
        let trace = traceparent(number);
        let headers = [trace.as_str(), &bind];
        let answer = request(address, "GET", "/run/probe/trap", &headers, b"").expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (502, "guest_trap"));
        let task = answer.header("vyr-task-id").expect("the task's id");
        assert_eq!(answer.json()["task"], task);
        let returned = answer.header("traceparent").expect("the task's trace");
        assert_eq!(
            returned[..35],
            trace["traceparent: ".len()..][..35],
            "its trace id"
        );
    }
    assert!(node.terminate().success());
    let spans = spans(&sink);
    let (roots, hops) = roots_and_hops(&spans);
    assert_eq!((roots.len(), hops.len()), (2, 1));
    assert_eq!(roots[&hops[0].trace_id], hops[0].span_id);
}

#[test]
fn a_request_takes_one_hop_at_most() {
    let node = Node::with_artifact(&["--shards", "2"], "hello.wasm", "hello");
    let answer = node.request("GET", "/run/hello/", &[], b"");
    let task = answer.header("vyr-task-id").expect("a task").to_owned();
    let owner = node.json(&format!("/v0/tasks/{task}"))["shard"]
        .as_u64()
        .expect("a shard");
    let other = 1 - owner;
    let socket = node.data_dir().join(format!("run/shard-{other}.sock"));
    let status = |header: &str| {
        let mut stream = UnixStream::connect(&socket).expect("the shard listens");
        let head = format!(
            "GET /v0/tasks/{task} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer.split(' ').nth(1).map(str::to_owned)
    };
    let hops = || {
        let metrics = node.request("GET", "/metrics", &[], b"").text();
        let counts = metrics.lines().filter_map(|line| {
            let (_, count) = line
                .split_once("vyr_forward_hops_total{")?
                .1
                .split_once("} ")?;
            count.parse::<u64>().ok()
        });
        counts.sum::<u64>()
    };
    let before = hops();
    assert_eq!(status("").as_deref(), Some("200"), "sent on to the owner");
    assert_eq!(hops() - before, 1);
    assert_eq!(
        status("vyr-hop: 1\r\n").as_deref(),
        Some("404"),
        "not sent on again"
    );
    assert_eq!(hops() - before, 1);
}

#[test]
fn a_retry_that_finds_the_first_task_is_no_hop_of_it() {
    let sink = Sink::start();
    let node = node(&sink);
    let document = json!({"artifact": "probe", "args": ["exit", "0"]}).to_string();
    let addresses = addresses(&node);
    for number in 0..16 {
        // Whichever shard has the key, the other one sends the request on, first or again.
        let key = format!("idempotency-key: {}", number / 2);
        let headers = [JSON, &key, &traceparent(number)];
        let address = &addresses[number % 2];
        let answer = request(
            address,
            "POST",
            "/v0/tasks?wait=30s",
            &headers,
            document.as_bytes(),
        );
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert!(node.terminate().success());
    let spans = spans(&sink);
    let (roots, hops) = roots_and_hops(&spans);
    assert_eq!(roots.len(), 8, "each key has one task");
    let owners = 1..roots.len();
    assert!(owners.contains(&hops.len()), "either shard has keys");
    for hop in hops {
        assert_eq!(roots.get(&hop.trace_id), Some(&hop.span_id));
    }
}

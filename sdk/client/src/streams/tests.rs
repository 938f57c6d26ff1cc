//! Streams as a node sends them, from a listener of the test's own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use super::*;

const TRACES: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n\
    event: span\ndata: {\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\ndata: \"spanId\":\"b7ad6b7169203331\",\"name\":\"queue\",\"kind\":1,\"startTimeUnixNano\":\"10\",\"endTimeUnixNano\":\"30\"}\n\n\
    event: later\ndata: what a newer node may send\n\n\
    event: lost\ndata: {\"shard\":1,\"spans\":120}\n\n";

const METRICS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
    event: metrics\ndata: {\"shard\":0,\"unix_ms\":1700000000000,\"families\":[{\"name\":\"vyr_tasks\",\"kind\":\"counter\",\"unit\":\"count\",\"help\":\"x\",\"series\":[{\"labels\":[[\"kind\",\"http\"]],\"value\":{\"counter\":5}}]}]}\n\n\
    event: missing\ndata: {\"shard\":1}\n\n";

/// Answers one request, tells what it was, and closes.
fn answer(mut stream: impl Read + Write, text: &str) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        request.push(byte[0]);
    }
    stream.write_all(text.as_bytes()).expect("the client reads");
    let request = String::from_utf8(request).expect("text");
    request.lines().next().unwrap_or_default().to_owned()
}

/// The client's calls against a listener that answers once with this.
fn with_answer<T>(text: &'static str, calls: impl AsyncFnOnce(Client) -> T) -> (T, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        answer(stream, text)
    });
    let result = block_on(calls(Client::new(&url).expect("a URL")));
    (result, server.join().expect("the server does not panic"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn spans_and_losses_come_in_order_and_the_end_is_an_error() {
    let ((), request) = with_answer(TRACES, async |client| {
        let mut stream = client.traces(Some("t1"), Some("a:b")).await.expect("200");
        let TraceEvent::Span(span) = stream.next().await.expect("a span") else {
            panic!("a span comes first");
        };
        assert_eq!(span.value.name, "queue");
        assert_eq!(span.value.duration_ns(), 20);
        assert!(span.json.starts_with('{') && !span.json.contains('\n'));
        let TraceEvent::Lost(lost) = stream.next().await.expect("a loss") else {
            panic!("then a loss");
        };
        assert_eq!((lost.value.shard, lost.value.spans), (ShardNumber(1), 120));
        let error = stream.next().await.expect_err("the server closed");
        assert!(matches!(error, Error::Connection { .. }), "{error}");
        assert!(error.to_string().contains("ended the stream"), "{error}");
    });
    assert_eq!(request, "GET /v0/traces?task=t1&artifact=a%3Ab HTTP/1.1");
}

#[test]
fn metrics_come_as_snapshots() {
    let ((), request) = with_answer(METRICS, async |client| {
        let interval = Duration::from_millis(250);
        let stream = client.metrics(interval, Some(ShardNumber(3))).await;
        let mut stream = stream.expect("200");
        let MetricEvent::Shard(metrics) = stream.next().await.expect("metrics") else {
            panic!("metrics come first");
        };
        assert_eq!(metrics.value.unix_ms, 1_700_000_000_000);
        let tasks = metrics.value.snapshot.get("vyr_tasks", &[("kind", "http")]);
        assert_eq!(tasks, Some(&vyr_core::metrics::Value::Counter(5)));
        let MetricEvent::Missing(missing) = stream.next().await.expect("missing") else {
            panic!("then a shard is missing");
        };
        assert_eq!(missing.value.shard, ShardNumber(1));
    });
    assert_eq!(request, "GET /v0/metrics?interval=250ms&shard=3 HTTP/1.1");
}

#[test]
fn a_stream_that_breaks_off_or_makes_no_sense_says_so() {
    const BROKEN: &str =
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nevent: span\ndata: {\"traceId\"";
    let (error, _) = with_answer(BROKEN, async |client| {
        let mut stream = client.traces(None, None).await.expect("200");
        stream.next().await.expect_err("it broke off")
    });
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    const NONSENSE: &str = "HTTP/1.1 200 OK\r\n\r\nevent: span\ndata: {}\n\n";
    let (error, _) = with_answer(NONSENSE, async |client| {
        let mut stream = client.traces(None, None).await.expect("200");
        stream.next().await.expect_err("not a span")
    });
    assert!(
        matches!(&error, Error::Protocol { reason, .. } if reason.contains("'span'")),
        "{error}"
    );
}

#[test]
fn streams_come_over_unix_sockets_as_well() {
    let path = std::env::temp_dir().join(format!("vyr-streams-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a free path");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        answer(stream, METRICS)
    });
    let client = Client::new(&format!("unix:{}", path.display())).expect("a URL");
    let first = block_on(async {
        let mut stream = client.metrics(Duration::from_secs(1), None).await?;
        stream.next().await
    });
    assert!(matches!(first, Ok(MetricEvent::Shard(_))), "{first:?}");
    let request = server.join().expect("the server does not panic");
    assert_eq!(request, "GET /v0/metrics?interval=1000ms HTTP/1.1");
    std::fs::remove_file(path).expect("it is there");
}

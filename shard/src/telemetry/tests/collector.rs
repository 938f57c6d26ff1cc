//! A real collector between the exporter and the sink.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vyr_core::trace::Ring;

use super::super::{EventKind, ExportTotals, Exporter, ExporterConfig, Protocol};
use super::events::event;
use super::sink::Sink;
use super::{STEPS, Tasks, quick};

/// The agent inside Python's `rotel` package.
fn rotel_agent() -> Option<PathBuf> {
    let python = std::env::var_os("VYR_PYTHON").unwrap_or_else(|| "python3".into());
    let script =
        "import importlib.util as i; print(i.find_spec('rotel').submodule_search_locations[0])";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    let package = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(package.join("rotel-agent")).filter(|agent| agent.is_file())
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a listener has an address")
        .to_string()
}

#[test]
fn a_real_collector_takes_every_span_and_log_and_hands_it_on() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        takes_every_span(protocol);
    }
}

fn takes_every_span(protocol: Protocol) {
    const TASKS: u64 = 2_000;
    const EVENTS: u64 = 700;
    let Some(agent) = rotel_agent() else {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "no rotel-agent"
        );
        println!(
            "skipped: no rotel-agent; install Python's rotel, and set VYR_PYTHON to its python"
        );
        return;
    };
    let sink = Sink::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (http, grpc) = (free_address(), free_address());
    let child = Command::new(agent)
        .current_dir(folder.path())
        .args([
            "start",
            "--otlp-http-endpoint",
            &http,
            "--otlp-grpc-endpoint",
            &grpc,
        ])
        .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
        .args(["--otlp-exporter-endpoint", &sink.endpoint()])
        .args(["--batch-timeout", "100ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("rotel-agent starts");
    let _agent = Agent(child);
    let end = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(&http).is_err() {
        assert!(Instant::now() < end, "rotel-agent does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }

    let (writer, reader) = Ring::new(1 << 14);
    let config = ExporterConfig {
        timeout: Duration::from_secs(5),
        protocol,
        ..quick(&match protocol {
            Protocol::HttpProtobuf => format!("http://{http}"),
            Protocol::Grpc => format!("http://{grpc}"),
        })
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    Tasks::new().write(&writer, TASKS);
    let events = Arc::clone(handle.events());
    for number in 0..EVENTS {
        events.send(event(EventKind::Span, number));
        events.send(event(EventKind::Log, number));
    }
    let totals = handle.flush_and_stop(Duration::from_secs(30));
    assert_eq!(
        totals,
        ExportTotals {
            exported: TASKS * STEPS,
            ..ExportTotals::default()
        }
    );
    let told = events.totals();
    assert_eq!((told.spans_exported, told.logs_exported), (EVENTS, EVENTS));
    let all = TASKS * STEPS + EVENTS;
    let end = Instant::now() + Duration::from_secs(20);
    while (sink.spans().len() as u64) < all || (sink.logs().len() as u64) < EVENTS {
        assert!(
            Instant::now() < end,
            "{} spans and {} logs came through",
            sink.spans().len(),
            sink.logs().len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let spans = sink.spans();
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!((spans.len() as u64, ids.len() as u64), (all, all));
    let logs = sink.logs();
    let ids: std::collections::HashSet<_> = logs.iter().map(|log| &log.span_id).collect();
    assert_eq!((logs.len() as u64, ids.len() as u64), (EVENTS, EVENTS));
    let roots = spans
        .iter()
        .filter(|span| span.parent_span_id.is_empty())
        .count() as u64;
    assert_eq!(roots, TASKS);
}

//! What it costs that every step of every task is traced and exported.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Error;
use super::guests::HELLO;
use super::measure::{Recorder, request};
use super::scenarios::CONNECTIONS;
use super::server::Server;
use crate::load::{Load, Pace, run};
use crate::outcome::Report;
use crate::pin;
use crate::results::{Target, median};
use crate::url::Address;

/// No exporter, and no records for live watchers.
const OFF: &str = "[limits.shard]\nrecent_records_max = 0\n";
/// The share of the peak rate at which the cost is measured: the exporter keeps up beside the tasks, on the
/// same processor, so that what is measured is the whole cost.
const LOAD_SHARE: f64 = 0.4;
/// How long the exporter may take to send what is left.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(10);

/// One node, and what was found of it.
struct Side {
    name: &'static str,
    node: Server,
    request: Vec<u8>,
    cpu_us: Vec<f64>,
    open: Option<Report>,
}

pub(super) fn telemetry(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(format!(
        "hello at {LOAD_SHARE} of its peak rate, instances fresh: without exporter and live records, and with every \
         span of every task exported to a collector that takes everything; the exporter's CPU time is counted"
    ));
    let setup = recorder.setup;
    let config = setup.write("telemetry-off.toml", OFF.as_bytes())?;
    let config = config.to_string_lossy().into_owned();
    let collector = format!("http://{}", start_collector(setup.server_cpu)?);
    let side = |name, arguments: &[&str]| -> Result<Side, Error> {
        let (node, _) = setup.node_with(name, 1, arguments)?;
        setup.put(&node, "hello", HELLO, None)?;
        Ok(Side {
            name,
            request: request(&node, "GET", "/run/hello/", "", &[]),
            node,
            cpu_us: Vec::new(),
            open: None,
        })
    };
    let mut sides = [
        side("vyr-telemetry-off", &["--config", &config])?,
        side("vyr-telemetry-on", &["--otlp-endpoint", &collector])?,
    ];
    let peak_rps = peak_rps(&sides[0])?;
    let rate_rps = LOAD_SHARE * peak_rps;
    for round in 0..=recorder.rounds() {
        for side in &mut sides {
            let before_ns = side.node.tree.cpu_ns()?;
            let report = recorder.open(&side.node, &side.request, CONNECTIONS, rate_rps)?;
            wait_for_export(&side.node)?;
            let used_ns = side.node.tree.cpu_ns()? - before_ns;
            // The first round warms up.
            if round > 0 {
                let requests = report.requests as f64;
                side.cpu_us.push(used_ns as f64 / 1e3 / requests);
                match &mut side.open {
                    Some(sum) => sum.merge(report),
                    none => *none = Some(report),
                }
            }
        }
    }
    for side in sides {
        let (Some(report), Some(cpu_us)) = (&side.open, median(side.cpu_us.clone())) else {
            continue;
        };
        let records = Records::of(&side.node)?;
        let mut target = Target {
            name: side.name.into(),
            cpu_us_per_request: Some(cpu_us),
            cpu_us_rounds: side.cpu_us,
            rss_bytes: Some(side.node.tree.resident_bytes()?),
            figures: [
                ("records_exported".to_owned(), records.exported),
                ("records_dropped".to_owned(), records.dropped),
            ]
            .into(),
            ..Target::default()
        };
        target.set_latency(rate_rps, report);
        if records.dropped > 0.0 {
            target.void = Some("records were dropped, so not all of the cost was paid".into());
        }
        recorder.say(&format!("  {}: {cpu_us:.2} µs CPU", side.name));
        recorder.keep_latency(side.name, report);
        recorder.add(target);
    }
    Ok(())
}

fn peak_rps(side: &Side) -> Result<f64, Error> {
    let load = |requests| Load {
        address: Address::Tcp(side.node.address),
        connections: CONNECTIONS,
        pace: Pace::Closed { requests },
        time_out: Duration::from_secs(5),
    };
    run(&load(5_000), |_| &side.request, |_, _, _| {})?;
    let report = run(&load(20_000), |_| &side.request, |_, _, _| {})?;
    Ok(report.succeeded_rps())
}

/// What became of a node's trace records.
#[derive(Debug, Default, PartialEq)]
struct Records {
    exported: f64,
    dropped: f64,
}

impl Records {
    fn of(node: &Server) -> Result<Self, Error> {
        let (_, text) = node.exchange("GET", "/metrics", &[])?;
        let mut records = Self::default();
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((head, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if !head.starts_with("vyr_trace_records_total{") {
                continue;
            }
            let value: f64 = value.parse().unwrap_or_default();
            if head.contains("\"exported\"") {
                records.exported += value;
            } else if head.contains("\"dropped_") {
                records.dropped += value;
            }
        }
        Ok(records)
    }
}

/// Until nothing more is exported.
fn wait_for_export(node: &Server) -> Result<(), Error> {
    let started = Instant::now();
    let mut before = Records::of(node)?;
    while started.elapsed() < EXPORT_TIME_MAX {
        // Longer than a batch waits for more.
        std::thread::sleep(Duration::from_millis(1500));
        let now = Records::of(node)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Starts a collector that takes whatever it is sent, until the program ends.
fn start_collector(cpu: usize) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        // Not on the generator's processor, which spins there. Without it the run is only slower.
        let _ = pin::bind(&[cpu]);
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || take(stream));
        }
    });
    Ok(address)
}

fn take(mut stream: TcpStream) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
            let rest = (end + 4 + length).saturating_sub(bytes.len());
            let mut body = (&stream).take(rest as u64);
            if std::io::copy(&mut body, &mut std::io::sink()).is_err() {
                return;
            }
            bytes.drain(..bytes.len().min(end + 4 + length));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(answer).is_err() {
                return;
            }
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

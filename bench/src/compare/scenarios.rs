//! What is done to the servers.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::Error;
use super::guests::{EVENT_TRANSFORM, EVENTS, HELLO, HELLO_GROW, STATE_PROBE, events, marked};
use super::measure::{Dose, Measurand, Recorder, closed, failure, request};
use super::server::Server;
use super::targets::{EPOLL, IO_URING, TOKIO};
use crate::latency::{latency_histogram, quantile_us, record};
use crate::process::{ProcessTree, resident_bytes};
use crate::results::{Target, median};

type Run = fn(&mut Recorder<'_>) -> Result<(), Error>;

/// Every scenario, in the order they are run.
pub(super) const ALL: &[(&str, Run)] = &[
    ("hello", hello),
    ("hello-half-peak", hello_half_peak),
    ("hello-grow", hello_grow),
    ("event", event),
    ("cpu-heavy", cpu_heavy),
    ("connections-1", connections_1),
    ("connections-256", connections_256),
    ("overload", overload),
    ("spinning-neighbour", spinning_neighbour),
    ("cancel", cancel),
    ("hop", hop),
    ("hot-key", hot_key),
    ("stream", stream),
    ("cold", cold),
    ("start", start),
    ("engine", super::engine::engine),
    ("growth", growth),
    ("telemetry", super::telemetry::telemetry),
];

pub(super) const CONNECTIONS: usize = 32;
const JSON: &str = "content-type: application/json\r\n";
const NDJSON: &str = "content-type: application/x-ndjson\r\n";

/// A server that may be missing, and why.
fn optional(server: Result<Server, Error>) -> (Option<Server>, String) {
    match server {
        Ok(server) => (Some(server), String::new()),
        Err(error) => (None, error.to_string()),
    }
}

fn present((server, reason): &(Option<Server>, String)) -> Result<&Server, String> {
    server.as_ref().ok_or_else(|| reason.clone())
}

fn get<'a>(name: &'static str, server: Result<&'a Server, String>, path: &str) -> Measurand<'a> {
    let request = server
        .as_ref()
        .map(|server| request(server, "GET", path, "", &[]));
    Measurand {
        name,
        request: request.unwrap_or_default(),
        server,
    }
}

fn post<'a>(
    name: &'static str,
    server: Result<&'a Server, String>,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Measurand<'a> {
    let request = server
        .as_ref()
        .map(|server| request(server, "POST", path, headers, body));
    Measurand {
        name,
        request: request.unwrap_or_default(),
        server,
    }
}

impl Recorder<'_> {
    fn requests(&self, thorough: u64) -> u64 {
        if self.quick { thorough / 5 } else { thorough }
    }
}

fn hello(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(format!(
        "GET, a six-byte answer, {CONNECTIONS} keep-alive connections over TCP; JavaScript on workerd, no guest on nginx and hyper"
    ));
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let wasmtime = optional(setup.wasmtime("hello", HELLO, false));
    let tuned = optional(setup.wasmtime("hello", HELLO, true));
    let workerd = optional(setup.workerd());
    let nginx = optional(setup.nginx());
    let (tokio, io_uring, epoll) = (
        setup.hyper(TOKIO)?,
        optional(setup.hyper(IO_URING)),
        setup.hyper(EPOLL)?,
    );
    let targets = [
        get("vyr-fresh", Ok(&node), "/run/hello/"),
        get("vyr-reuse", Ok(&node), "/run/hello-reuse/"),
        get("wasmtime-serve", present(&wasmtime), "/"),
        get("wasmtime-serve-tuned", present(&tuned), "/"),
        get("workerd", present(&workerd), "/"),
        get("nginx", present(&nginx), "/"),
        get("hyper-tokio", Ok(&tokio), "/"),
        get("hyper-glommio", present(&io_uring), "/"),
        get("hyper-epoll", Ok(&epoll), "/"),
    ];
    let requests = recorder.requests(40_000);
    recorder.measure(
        &targets,
        Dose {
            connections: CONNECTIONS,
            requests,
        },
    )
}

fn hello_half_peak(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder
        .describe("hello at half of the tuned wasmtime serve's peak rate, instances fresh".into());
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let tuned = optional(setup.wasmtime("hello", HELLO, true));
    let targets = [
        get("vyr-fresh", Ok(&node), "/run/hello/"),
        get("wasmtime-serve-tuned", present(&tuned), "/"),
    ];
    let requests = recorder.requests(20_000);
    recorder.measure(
        &targets,
        Dose {
            connections: CONNECTIONS,
            requests,
        },
    )
}

fn hello_grow(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(
        "hello by a guest that grows its memory on every request, instances fresh".into(),
    );
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let tuned = optional(setup.wasmtime("hello-grow", HELLO_GROW, true));
    let targets = [
        get("vyr-fresh", Ok(&node), "/run/hello-grow/"),
        get("wasmtime-serve-tuned", present(&tuned), "/"),
    ];
    let requests = recorder.requests(20_000);
    recorder.measure(
        &targets,
        Dose {
            connections: CONNECTIONS,
            requests,
        },
    )
}

fn event(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe("event-transform, one flight event per request, instances fresh".into());
    transform(recorder, JSON, events(1).trim_ascii_end(), 10_000)
}

fn cpu_heavy(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe("event-transform, 500 flight events per request, instances fresh".into());
    transform(recorder, NDJSON, events(500), 1000)
}

fn transform(
    recorder: &mut Recorder<'_>,
    headers: &str,
    body: &[u8],
    requests: u64,
) -> Result<(), Error> {
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let tuned = optional(setup.wasmtime("event-transform", EVENT_TRANSFORM, true));
    let targets = [
        post(
            "vyr-fresh",
            Ok(&node),
            "/run/event-transform/",
            headers,
            body,
        ),
        post("wasmtime-serve-tuned", present(&tuned), "/", headers, body),
    ];
    let requests = recorder.requests(requests);
    recorder.measure(
        &targets,
        Dose {
            connections: CONNECTIONS,
            requests,
        },
    )
}

fn connections_1(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe("hello over a single connection".into());
    few_or_many(recorder, 1, 10_000)
}

fn connections_256(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe("hello over 256 connections".into());
    few_or_many(recorder, 256, 40_000)
}

fn few_or_many(
    recorder: &mut Recorder<'_>,
    connections: usize,
    requests: u64,
) -> Result<(), Error> {
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let tuned = optional(setup.wasmtime("hello", HELLO, true));
    let nginx = optional(setup.nginx());
    let targets = [
        get("vyr-fresh", Ok(&node), "/run/hello/"),
        get("vyr-reuse", Ok(&node), "/run/hello-reuse/"),
        get("wasmtime-serve-tuned", present(&tuned), "/"),
        get("nginx", present(&nginx), "/"),
    ];
    let requests = recorder.requests(requests);
    recorder.measure(
        &targets,
        Dose {
            connections,
            requests,
        },
    )
}

/// Peak first, then three times as much.
fn overload(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    const EVENTS: usize = 100;
    const WAIT_MS_MAX: u64 = 5;
    recorder.describe(format!(
        "{OVERLOAD} times the peak rate; clients with 256 connections, and with 2048 on a node with \
         request_wait_ms_max = {WAIT_MS_MAX}; hello, and event-transform with {EVENTS} events. Accepted: from sent to answered, \
         the generator's own lateness included; what waits for a free connection waits at the client"
    ));
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let tuned = optional(setup.wasmtime("hello", HELLO, true));
    let config = format!("[limits.shard]\nrequest_wait_ms_max = {WAIT_MS_MAX}\n");
    let config = setup.write("overload.toml", config.as_bytes())?;
    let (strict, _) = setup.node_with("strict", 1, &["--config", &config.to_string_lossy()])?;
    setup.put(&strict, "hello", HELLO, None)?;
    setup.put(&strict, "event-transform", EVENT_TRANSFORM, None)?;
    let transform = |name, server, path| post(name, server, path, NDJSON, events(EVENTS));
    let transform_tuned = optional(setup.wasmtime("event-transform", EVENT_TRANSFORM, true));
    for (target, connections, requests) in [
        (get("vyr-fresh", Ok(&node), "/run/hello/"), 256, 40_000),
        (
            get("wasmtime-serve-tuned", present(&tuned), "/"),
            256,
            40_000,
        ),
        (
            get("vyr-fresh-2048", Ok(&strict), "/run/hello/"),
            2048,
            40_000,
        ),
        (
            get("wasmtime-serve-tuned-2048", present(&tuned), "/"),
            2048,
            40_000,
        ),
        (
            transform("vyr-transform-2048", Ok(&strict), "/run/event-transform/"),
            2048,
            10_000,
        ),
        (
            transform("wasmtime-transform-2048", present(&transform_tuned), "/"),
            2048,
            10_000,
        ),
    ] {
        let requests = recorder.requests(requests);
        let row = overloaded(
            recorder,
            &target,
            Dose {
                connections,
                requests,
            },
        )?;
        recorder.add(row);
    }
    Ok(())
}

const OVERLOAD: f64 = 3.0;

fn overloaded(
    recorder: &mut Recorder<'_>,
    target: &Measurand<'_>,
    dose: Dose,
) -> Result<Target, Error> {
    let server = match &target.server {
        Ok(server) => *server,
        Err(reason) => return Ok(Target::missing(target.name, reason.clone())),
    };
    let peak = Dose {
        connections: CONNECTIONS,
        ..dose
    };
    let mut peaks_rps = Vec::new();
    for round in 0..=recorder.rounds() {
        let report = closed(server, &target.request, peak)?;
        // The first round warms up. A server may refuse some requests at its peak; one that does not answer has none.
        if report.failed > 0 {
            let reason = failure(&report).unwrap_or_default();
            return Ok(Target::missing(target.name, reason));
        }
        if round > 0 {
            peaks_rps.push(report.succeeded_rps());
        }
    }
    let peak_rps = median(peaks_rps).unwrap_or_default();
    let rate_rps = OVERLOAD * peak_rps;
    let opened = recorder.open(server, &target.request, dose.connections, rate_rps);
    let report = match opened {
        Ok(report) => report,
        Err(error) => {
            let reason = format!("{} connections at once: {error}", dose.connections);
            return Ok(Target::missing(target.name, reason));
        }
    };
    let refused = report.statuses.get(&503).copied().unwrap_or(0);
    let goodput_rps = report.succeeded_rps();
    let p99_us = quantile_us(&report.accepted_service_ns, 0.99);
    recorder.say(&format!(
        "  {}: peak {peak_rps:.0}/s, goodput {goodput_rps:.0}/s, p99 of accepted {p99_us:.0} µs, {refused} refused",
        target.name
    ));
    recorder.keep_latency(target.name, &report);
    let mut row = Target {
        name: target.name.into(),
        peak_rps: Some(peak_rps),
        rss_bytes: Some(server.tree.resident_bytes()?),
        ..Target::default()
    };
    row.set_latency(rate_rps, &report);
    row.figures = [
        ("goodput_to_peak", goodput_rps / peak_rps),
        ("refused_503", refused as f64),
        ("accepted_service_p99_us", p99_us),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    Ok(row)
}

fn spinning_neighbour(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    const RATE_RPS: f64 = 500.0;
    recorder.describe("hello beside a guest that computes without end on the same shard".into());
    let node = recorder.setup.node_with_guests()?;
    let mut spinner = TcpStream::connect(node.address)?;
    spinner.write_all(&request(&node, "GET", "/run/probe/spin", "", &[]))?;
    let request = request(&node, "GET", "/run/hello/", "", &[]);
    let report = recorder.open(&node, &request, CONNECTIONS, RATE_RPS)?;
    drop(spinner);
    let mut target = Target {
        name: "vyr-fresh".into(),
        ..Target::default()
    };
    target.set_latency(RATE_RPS, &report);
    recorder.keep_latency("vyr-fresh", &report);
    recorder.add(target);
    Ok(())
}

fn cancel(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder
        .describe("from the request to cancel a spinning guest until its task has ended".into());
    let node = recorder.setup.node_with_guests()?;
    let mut took = latency_histogram();
    for _ in 0..recorder.requests(500) {
        let (_, body) = node.exchange("POST", "/v0/tasks?artifact=probe&arg=spin", &[])?;
        let id = json_text(&body, "id").ok_or_else(|| wrong(&body))?;
        // It runs when it has held the core for a while.
        std::thread::sleep(Duration::from_millis(3));
        let started = Instant::now();
        node.exchange("POST", &format!("/v0/tasks/{id}/cancel"), &[])?;
        let (_, body) = node.exchange("GET", &format!("/v0/tasks/{id}?wait=5s"), &[])?;
        record(&mut took, started.elapsed());
        if json_text(&body, "status").as_deref() != Some("cancelled") {
            return Err(wrong(&body));
        }
    }
    recorder.add(latencies_only("vyr", &took));
    Ok(())
}

fn wrong(body: &[u8]) -> Error {
    Error::Wrong {
        target: "vyr".into(),
        scenario: "cancel".into(),
        reason: String::from_utf8_lossy(body).into_owned(),
    }
}

fn json_text(body: &[u8], field: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(value.get(field)?.as_str()?.to_owned())
}

fn latencies_only(name: &str, histogram: &hdrhistogram::Histogram<u64>) -> Target {
    let quantile = |quantile| Some(quantile_us(histogram, quantile));
    Target {
        name: name.into(),
        requests: Some(histogram.len()),
        p50_us: quantile(0.5),
        p90_us: quantile(0.9),
        p99_us: quantile(0.99),
        max_us: quantile(1.0),
        ..Target::default()
    }
}

/// Over one connection at a time, so that nothing but the hop differs.
fn hop(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(
        "GET of a task's status on a node of two shards that share one processor: asked of the task's own shard, and of the other".into(),
    );
    let setup = recorder.setup;
    let (node, _) = setup.node("node", 2)?;
    setup.put(&node, "hello", HELLO, None)?;
    let (_, body) = node.exchange("GET", "/v0/node", &[])?;
    let description: serde_json::Value =
        serde_json::from_slice(&body).map_err(std::io::Error::other)?;
    let address = |shard: usize| {
        let text = description["shards"][shard]["address"].as_str()?;
        text.parse().ok()
    };
    let (Some(own), Some(other)) = (address(0), address(1)) else {
        return Err(wrong(&body));
    };
    let shards = [own, other].map(|address| node.at(address));
    let head = shards[0].head("/run/hello/")?;
    let task = head
        .lines()
        .find_map(|line| line.strip_prefix("vyr-task-id: "))
        .map(str::to_owned)
        .ok_or_else(|| wrong(head.as_bytes()))?;
    let path = format!("/v0/tasks/{task}");
    let targets = [
        get("vyr-own-shard", Ok(&shards[0]), &path),
        get("vyr-other-shard", Ok(&shards[1]), &path),
    ];
    let requests = recorder.requests(10_000);
    recorder.measure(
        &targets,
        Dose {
            connections: 1,
            requests,
        },
    )
}

fn hot_key(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(format!(
        "one key of one state, {CONNECTIONS} connections to its shard: read and written by its id, and incremented by fresh tasks; beside hello"
    ));
    let setup = recorder.setup;
    let (node, _) = setup.node("node", 1)?;
    setup.put(&node, "hello", HELLO, None)?;
    setup.put(
        &node,
        "state-probe",
        STATE_PROBE,
        Some("[[state]]\nname = \"a\"\n"),
    )?;
    let state = setup.create_state(&node)?;
    let key = format!("/v0/states/{state}/keys/hot");
    let incremented = format!("vyr-bind: {state}=a\r\n");
    let with = |name, method, path: &str, headers: &str, body: &[u8]| Measurand {
        name,
        request: request(&node, method, path, headers, body),
        server: Ok(&node),
    };
    node.exchange("PUT", &key, b"0")?;
    let targets = [
        get("vyr-hello", Ok(&node), "/run/hello/"),
        get("vyr-read", Ok(&node), &key),
        with("vyr-write", "PUT", &key, "", b"1"),
        with(
            "vyr-task",
            "GET",
            "/run/state-probe/a/increment/count/1",
            &incremented,
            b"",
        ),
    ];
    let requests = recorder.requests(20_000);
    recorder.measure(
        &targets,
        Dose {
            connections: CONNECTIONS,
            requests,
        },
    )
}

fn stream(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    const COPIES: usize = 33;
    let input = EVENTS.repeat(COPIES);
    let count = input.iter().filter(|byte| **byte == b'\n').count();
    recorder.describe(format!(
        "event-transform as a command, {count} events streamed in and out of one task over TCP; the native program by pipes"
    ));
    let setup = recorder.setup;
    let node = setup.node_with_guests()?;
    let (mut ours, mut native) = (Vec::new(), Vec::new());
    for _ in 0..recorder.rounds() {
        let started = Instant::now();
        let (status, body) = node.exchange(
            "POST",
            "/v0/tasks?artifact=event-transform&output=stream",
            &input,
        )?;
        ours.push(count as f64 / started.elapsed().as_secs_f64());
        let lines = body.iter().filter(|byte| **byte == b'\n').count();
        if status != 200 || lines < count {
            return Err(Error::Wrong {
                target: "vyr".into(),
                scenario: "stream".into(),
                reason: format!("status {status}, {lines} lines for {count} events"),
            });
        }
        if let Some(program) = &setup.event_transform {
            let took = setup.time_filter(program, &input)?;
            native.push(count as f64 / took.as_secs_f64());
        }
    }
    let target = |name: &str, rates: Vec<f64>| Target {
        name: name.into(),
        figures: median(rates)
            .map(|rate| ("events_per_second".to_owned(), rate))
            .into_iter()
            .collect(),
        ..Target::default()
    };
    recorder.add(target("vyr", ours));
    recorder.add(if native.is_empty() {
        Target::missing(
            "native",
            "the native program is not built; eval \"$(scripts/bench-targets)\"".into(),
        )
    } else {
        target("native", native)
    });
    Ok(())
}

fn cold(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    let count = if recorder.quick { 40 } else { 200 };
    recorder.describe(format!(
        "the first request of each of {count} artifacts after a restart of the node; their compiled forms are on disk"
    ));
    let setup = recorder.setup;
    {
        let (node, _) = setup.node("node", 1)?;
        for number in 0..count {
            setup.put(
                &node,
                &format!("cold-{number}"),
                &marked(HELLO, number),
                None,
            )?;
        }
    }
    let (node, _) = setup.node("node", 1)?;
    let mut took = latency_histogram();
    for number in 0..count {
        let started = Instant::now();
        let (status, body) = node.exchange("GET", &format!("/run/cold-{number}/"), &[])?;
        record(&mut took, started.elapsed());
        if status != 200 {
            return Err(wrong(&body));
        }
    }
    recorder.add(latencies_only("vyr", &took));
    Ok(())
}

fn start(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder
        .describe("from the start of 'vyr node' to ready, and the memory of the idle shard".into());
    let mut took = latency_histogram();
    let mut shard_bytes = 0;
    for number in 0..if recorder.quick { 5 } else { 20 } {
        let (node, ready) = recorder.setup.node(&format!("node-{number}"), 1)?;
        record(&mut took, ready);
        shard_bytes = shard_bytes.max(largest_child(node.tree)?);
    }
    let mut target = latencies_only("vyr", &took);
    target.rss_bytes = Some(shard_bytes);
    recorder.add(target);
    Ok(())
}

fn largest_child(tree: ProcessTree) -> Result<u64, Error> {
    let sizes = tree.children()?.into_iter().map(resident_bytes);
    Ok(sizes.max().unwrap_or(0))
}

fn growth(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    let requests: u64 = if recorder.quick { 100_000 } else { 1_000_000 };
    // As many as are remembered, and more: from then on nothing may grow.
    let warm_up = 50_000;
    recorder.describe(format!(
        "memory of a shard after {requests} tasks more, the first {warm_up} not counted"
    ));
    let node = recorder.setup.node_with_guests()?;
    let bytes = request(&node, "GET", "/run/hello/", "", &[]);
    let load = |requests| {
        let dose = Dose {
            connections: CONNECTIONS,
            requests,
        };
        match failure(&closed(&node, &bytes, dose)?) {
            None => Ok(()),
            Some(reason) => Err(Error::Wrong {
                target: "vyr-fresh".into(),
                scenario: "growth".into(),
                reason,
            }),
        }
    };
    load(warm_up)?;
    let before = largest_child(node.tree)?;
    load(requests)?;
    let after = largest_child(node.tree)?;
    recorder.add(Target {
        name: "vyr-fresh".into(),
        requests: Some(requests),
        rss_bytes: Some(after),
        figures: [("growth_bytes".to_owned(), after as f64 - before as f64)].into(),
        ..Target::default()
    });
    Ok(())
}

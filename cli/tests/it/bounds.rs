//! The bounds of the HTTP side: slow clients, large requests, many connections, a full queue.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

fn probe(arguments: &[&str]) -> Node {
    Node::with_artifact(arguments, "probe.wasm", "probe")
}

#[test]
fn slow_and_oversized_clients_are_cut_off() {
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    let toml = "[limits.http]\nheader_ms_max = 300\nbody_pause_ms_max = 300\nbody_ms_max = 1000\nconnections_max = 20\nartifact_bytes_max = 100000\n";
    std::fs::write(&file, toml).expect("writable");
    let node = Node::start(&["--shards", "1", "--config", file.to_str().expect("UTF-8")]);
    node.put("hello.wasm", "hello");
    let connect = || {
        let stream = TcpStream::connect(node.address()).expect("the node listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("settable");
        stream
    };
    // A header section that never ends.
    let started = Instant::now();
    let mut stream = connect();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .expect("writable");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it is closed");
    assert!(started.elapsed() < Duration::from_secs(20));
    // A body that pauses for too long.
    let mut stream = connect();
    let head = "POST /v0/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("writable");
    let answer = read_answer(stream).expect("an answer");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    // A body that comes, but too slowly as a whole.
    let mut stream = connect();
    stream.write_all(head.as_bytes()).expect("writable");
    let mut dripping = stream.try_clone().expect("a socket");
    std::thread::spawn(move || {
        while dripping.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let answer = read_answer(stream).expect("an answer");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    // Too large, by its own word and by its bytes.
    let wasm = ["content-type: application/wasm"];
    let answer = node.request("PUT", "/v0/artifacts", &wasm, &vec![0; 200_000]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "request_too_large")
    );
    // hyper closes the connection on a header section that is too large; nothing is served.
    let huge = format!("x-huge: {}", "h".repeat(100_000));
    let answer = request(node.address(), "GET", "/healthz", &[&huge], b"");
    assert!(
        answer.is_err() || answer.is_ok_and(|answer| answer.status == 431),
        "it is not served"
    );
    // Too many connections: one more is told so, the others go on.
    let held: Vec<_> = (0..20).map(|_| connect()).collect();
    until("a connection is refused", || {
        request(node.address(), "GET", "/healthz", &[], b"")
            .is_ok_and(|answer| answer.status == 503)
    });
    drop(held);
    until("there is room again", || {
        request(node.address(), "GET", "/healthz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn clients_that_take_all_connections_do_not_cut_a_shard_off_from_the_others() {
    let config = tempfile::NamedTempFile::new().expect("a file");
    writeln!(&config, "[limits.http]\nconnections_max = 4").expect("writable");
    let node = Node::start(&["--config", config.path().to_str().expect("UTF-8")]);
    let addresses: Vec<String> = node
        .shards()
        .iter()
        .map(|shard| shard["address"].as_str().expect("an address").to_owned())
        .collect();
    let json_type = ["content-type: application/json"];
    let document = json!({"shard": 1, "linger_ms": 60_000}).to_string();
    let created = node.request("POST", "/v0/states", &json_type, document.as_bytes());
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    let key = format!("/v0/states/{id}/keys/k");
    let full =
        || request(&addresses[1], "GET", "/healthz", &[], b"").is_ok_and(|a| a.status == 503);
    let mut held = Vec::new();
    until("the shard takes no more", || {
        held.push(TcpStream::connect(&addresses[1]).expect("it listens"));
        full()
    });
    let put = request(&addresses[0], "PUT", &key, &[], b"v").expect("an answer");
    assert_eq!(put.status, 204, "{}", put.text());
    assert!(full());
}

#[test]
fn a_client_that_stops_reading_does_not_hold_its_task_for_ever() {
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    std::fs::write(&file, "[limits.http]\nwrite_pause_ms_max = 300\n").expect("writable");
    let node = probe(&["--shards", "1", "--config", file.to_str().expect("UTF-8")]);
    let mut stream = TcpStream::connect(node.address()).expect("the node listens");
    let head = "POST /v0/tasks?artifact=probe&arg=flood&arg=100000000&output=stream HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("writable");
    until("the task has ended", || {
        let tasks = node.json("/v0/tasks");
        tasks["tasks"][0]["status"] == "cancelled"
    });
    assert_eq!(
        node.json("/v0/tasks")["tasks"][0]["error"]["code"],
        "client_gone"
    );
    drop(stream);
}

#[test]
fn a_client_that_reads_nothing_cannot_make_the_node_buffer() {
    const GROWTH_KIB_MAX: u64 = 8 << 10;
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    std::fs::write(&file, "[limits.http]\nwrite_pause_ms_max = 1000\n").expect("writable");
    let node = probe(&["--shards", "1", "--config", file.to_str().expect("UTF-8")]);
    let shard = node.shards()[0]["pid"].to_string();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    // Requests behind the first are what a server may read while its answers wait.
    let pipelined = [
        get("/metrics").repeat(20_000),
        get("/run/probe/flood?bytes=200000000") + &get("/healthz"),
    ];
    let warm = node.request("GET", "/run/probe/flood?bytes=10000000", &[], b"");
    assert_eq!(warm.body.len(), 10_000_000);
    for requests in pipelined {
        let first = requests.lines().next().expect("a line");
        let peak_before = memory_kib(&shard, "VmHWM");
        let grown = || memory_kib(&shard, "VmHWM").saturating_sub(peak_before);
        let mut stalled = TcpStream::connect(node.address()).expect("the node listens");
        stalled.write_all(requests.as_bytes()).expect("writable");
        until("it is cut off", || {
            let others = metric(&node, "vyr_connections", &[]) - 1.0;
            others == 0.0 || grown() > GROWTH_KIB_MAX
        });
        println!("{first}: {} KiB", grown());
        assert!(grown() <= GROWTH_KIB_MAX, "{first}: {} KiB", grown());
    }
}

#[test]
fn an_overloaded_shard_says_when_to_come_back() {
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    let toml = "[limits.shard]\nrunning_max = 1\nqueued_max = 1\n";
    std::fs::write(&file, toml).expect("writable");
    let node = probe(&["--shards", "1", "--config", file.to_str().expect("UTF-8")]);
    let sleep = json!({"artifact": "probe", "args": ["sleep", "60000"]}).to_string();
    let submit = || {
        node.request(
            "POST",
            "/v0/tasks",
            &["content-type: application/json"],
            sleep.as_bytes(),
        )
    };
    let ids: Vec<_> = (0..2)
        .map(|_| {
            let answer = submit();
            assert_eq!(answer.status, 202, "{}", answer.text());
            answer.json()["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let refused = submit();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "overloaded")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    let counts = || {
        ["tasks_running", "tasks_queued", "tasks_refused_total"]
            .map(|name| metric(&node, &format!("vyr_{name}"), &[]))
    };
    assert_eq!(counts(), [1.0, 1.0, 1.0]);
    assert_eq!(
        node.request("GET", "/run/probe/hello", &[], b"").status,
        503
    );
    assert_eq!(counts(), [1.0, 1.0, 2.0]);
    for id in ids {
        let answer = node.request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"");
        assert_eq!(answer.json()["status"], "cancelled");
    }
    assert_eq!(counts(), [0.0, 0.0, 2.0]);
    assert_eq!(
        node.request("GET", "/run/probe/hello", &[], b"").status,
        200
    );
}

#[test]
fn requests_that_waited_too_long_are_refused_and_the_others_are_served() {
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    let load = |config: &str| {
        std::fs::write(&file, config).expect("writable");
        let file = file.to_str().expect("UTF-8");
        let node = Node::with_artifact(&["--shards", "1", "--config", file], "hello.wasm", "hello");
        let url = format!("http://{}/run/hello/", node.address());
        let closed = ["bench", "load", &url, "--closed", "--output", "json"];
        let size = ["--connections", "256", "--requests", "20000"];
        let output = run(&[&closed[..], &size[..]].concat(), b"");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let answers = |status: &str| report["statuses"][status].as_u64().unwrap_or(0);
        (answers("200"), answers("503"))
    };
    // On a busy machine some requests get no answer at all in time.
    let (served, refused) = load("[limits.shard]\nrequest_wait_ms_max = 1\n");
    assert!(refused > 100, "{refused} were refused");
    assert!(served > 100, "{served} were served");
    let (served, refused) = load("[limits.shard]\nrequest_wait_ms_max = 60000\n");
    assert!(served > 100 && refused == 0, "{served}, {refused}");
}

#[test]
fn guests_that_compute_do_not_hold_their_shard() {
    const GUESTS: usize = 64;
    let node = probe(&["--shards", "1"]);
    let ids: Vec<_> = (0..GUESTS)
        .map(|_| {
            let answer = node.request("POST", "/v0/tasks?artifact=probe&arg=spin", &[], b"");
            answer.json()["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    until("all compute", || {
        let tasks = node.json("/v0/tasks?limit=100&status=running");
        tasks["tasks"]
            .as_array()
            .is_some_and(|tasks| tasks.len() == GUESTS)
    });
    // Counted in guests' slices and not in time, for other programs use the processors too. If all guests
    // computed before each look at the I/O, a request would take more than 64.
    let slices = || metric(&node, "vyr_epoch_yields_total", &[]);
    let per_request = |what: &dyn Fn(usize)| {
        let before = slices();
        (0..20).for_each(what);
        (slices() - before) / 20.0
    };
    let health = per_request(&|_| {
        assert_eq!(node.request("GET", "/healthz", &[], b"").status, 200);
    });
    assert!(health < 32.0, "/healthz took {health} slices");
    let hello = per_request(&|_| {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            200
        );
    });
    assert!(hello < 32.0, "a brief guest took {hello} slices");
    let cancel = per_request(&|number| {
        let path = format!("/v0/tasks/{}/cancel", ids[number]);
        let answer = node.request("POST", &path, &[], b"");
        assert_eq!(answer.json()["status"], "cancelled");
    });
    assert!(cancel < 32.0, "a cancel took {cancel} slices");
    for id in &ids {
        node.request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"");
    }
}

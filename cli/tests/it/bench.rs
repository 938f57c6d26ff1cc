//! `vyr bench` against real servers.

use crate::support::*;

#[test]
fn a_load_over_tcp_and_unix_sockets_is_measured() {
    let node = Node::with_artifact(&["--shards", "1"], "hello.wasm", "hello");
    let out = tempfile::tempdir().expect("a directory");
    let dir = out.path().to_str().expect("UTF-8");
    let tcp = format!("http://{}/run/hello/", node.address());
    let socket = node.data_dir().join("run/shard-0.sock");
    let unix = format!("unix:{}:/run/hello/", socket.display());
    for url in [tcp, unix] {
        let output = run(
            &[
                "bench",
                "load",
                &url,
                "--rate",
                "200",
                "--duration",
                "1s",
                "--connections",
                "4",
                "--warm-up",
                "100ms",
                "--out",
                dir,
                "--output",
                "json",
            ],
            b"",
        );
        // On a busy machine the run may be void, which is an exit code of its own.
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!(report["requests"], 200, "{url}");
        assert_eq!(report["statuses"]["200"], 200, "{url}");
        assert_eq!(output.status.success(), report["void"].is_null());
        let p50 = report["response"]["p50_us"].as_f64().expect("a latency");
        assert!(p50 > 10.0, "{p50} µs");
        for name in ["response.hgrm", "service.hgrm"] {
            let text = std::fs::read_to_string(out.path().join(name)).expect("a file");
            assert!(text.contains("Total count    =          200"), "{text}");
        }
    }
    let closed = run(
        &[
            "bench",
            "load",
            &format!("http://{}/run/hello/", node.address()),
            "--closed",
            "--requests",
            "500",
            "--output",
            "json",
        ],
        b"",
    );
    assert!(closed.status.success(), "{}", stderr(&closed));
    let report: serde_json::Value = serde_json::from_slice(&closed.stdout).expect("JSON");
    assert_eq!(report["requests"], 500);
    assert_eq!(report["errors"], 0);
}

#[test]
fn an_engine_tells_tasks_per_second() {
    let output = run(&["bench", "engine", "--duration", "500ms", "--json"], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["shards"], 1);
    assert!(report["tasks_per_second"].as_f64().expect("a rate") > 100.0);
    let per_task = &report["per_task"];
    assert!(
        per_task["page_faults"].as_f64().expect("a count") < 0.5,
        "{report}"
    );
    if has("strace") {
        assert!(
            per_task["mprotect"].as_f64().expect("a count") < 0.1,
            "{report}"
        );
        assert!(
            per_task["ioctl"].as_f64().expect("a count") < 1.1,
            "{report}"
        );
    }
}

#[test]
fn what_cannot_be_loaded_is_named_with_the_remedy() {
    for (arguments, expected) in [
        (
            &["bench", "load", "https://localhost/", "--rate", "1"][..],
            "http://HOST:PORT",
        ),
        (&["bench", "load", "http://127.0.0.1:1/"], "--rate"),
        (
            &["bench", "load", "http://127.0.0.1:1/", "--rate", "0"],
            "above 0",
        ),
        (
            &[
                "bench",
                "load",
                "http://127.0.0.1:1/",
                "--rate",
                "1",
                "--header",
                "x",
            ],
            "NAME: VALUE",
        ),
        (
            &["bench", "load", "http://127.0.0.1:1/", "--rate", "1"],
            "cannot load 127.0.0.1:1",
        ),
        (&["bench", "compare", "--scenario", "nothing"], "hello-grow"),
        (&["bench", "report", "/nonexistent"], "compare.json"),
        (&["bench", "engine", "--shards", "60000"], "fewer --shards"),
    ] {
        let output = run(arguments, b"");
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            stderr(&output).contains(expected),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

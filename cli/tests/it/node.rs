//! The node as processes: start, stop, locks, ports.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

#[test]
fn two_nodes_share_neither_data_nor_port() {
    let node = Node::start(&[]);
    let data_dir = node.data_dir();
    let data_dir = data_dir.to_str().expect("UTF-8");
    let other = run(
        &["node", "--listen", "127.0.0.1:0", "--data-dir", data_dir],
        b"",
    );
    assert_eq!(other.status.code(), Some(1));
    assert!(
        stderr(&other).contains("used by another node")
            && stderr(&other).contains(&node.pid().to_string()),
        "{}",
        stderr(&other)
    );
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let elsewhere = elsewhere.path().to_str().expect("UTF-8");
    let other = run(
        &["node", "--listen", node.address(), "--data-dir", elsewhere],
        b"",
    );
    assert_eq!(other.status.code(), Some(1));
    assert!(
        stderr(&other).contains("cannot listen"),
        "{}",
        stderr(&other)
    );
}

#[test]
fn termination_lets_running_tasks_finish() {
    let node = Node::with_artifact(&["--drain", "10s"], "probe.wasm", "probe");
    let mut client = node.command(&["task", "submit", "probe", "--wait", "--", "sleep", "700"]);
    let mut client = client
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("vyr starts");
    until("the task runs", || {
        node.json("/v0/tasks")["tasks"][0]["status"] == "running"
    });
    let started = Instant::now();
    let status = node.terminate();
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < PATIENCE);
    // The task's output had streamed to its end; the node may be gone when its status is asked for.
    client.wait().expect("a child");
}

#[test]
fn termination_stops_what_does_not_finish() {
    let node = Node::with_artifact(&["--drain", "200ms"], "probe.wasm", "probe");
    let accepted = node.vyr(&["task", "submit", "probe", "--", "spin"], b"");
    assert!(accepted.status.success(), "{}", stderr(&accepted));
    let started = Instant::now();
    assert!(node.terminate().success());
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn shards_end_with_their_supervisor() {
    let node = Node::start(&[]);
    let shards: Vec<_> = node
        .shards()
        .iter()
        .map(|shard| shard["pid"].as_i64().expect("a pid"))
        .collect();
    let supervisor = Pid::from_raw(i32::try_from(node.pid()).expect("a pid")).expect("a pid");
    kill_process(supervisor, Signal::KILL).expect("it runs");
    until("the shards have ended", || {
        shards
            .iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists())
    });
}

#[test]
fn each_shard_is_pinned_to_its_processor() {
    let node = Node::start(&[]);
    let allowed = vyr_shard::cpu::allowed();
    for (number, shard) in node.shards().iter().enumerate() {
        assert_eq!(
            shard["cpu"].as_u64(),
            Some(allowed[number % allowed.len()] as u64)
        );
        let pid = shard["pid"].as_u64().expect("a pid");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .expect("a list");
        assert_eq!(
            list.trim(),
            shard["cpu"].to_string(),
            "the executor's thread is the process's first"
        );
    }
}

//! What a task costs on its way through a node, where that is exact: system calls, hops, memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::support::*;

/// Sends requests over one connection, one after the other.
fn requests(address: &str, path: &str, count: usize) {
    let mut stream = TcpStream::connect(address).expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut answers = BufReader::new(stream.try_clone().expect("a clone"));
    for _ in 0..count {
        stream.write_all(request.as_bytes()).expect("send");
        let mut length = 0;
        loop {
            let mut line = String::new();
            answers.read_line(&mut line).expect("read");
            assert!(!line.is_empty(), "the node closed the connection");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        answers.read_exact(&mut vec![0; length]).expect("the body");
    }
}

#[test]
fn a_warm_task_makes_no_more_system_calls_than_it_did() {
    const TASKS: usize = 400;
    if !has("strace") {
        return;
    }
    for executor in ["io_uring", "epoll"] {
        let node = Node::with_artifact(
            &["--shards", "1", "--executor", executor],
            "hello.wasm",
            "hello",
        );
        let address = node.address().to_owned();
        requests(&address, "/run/hello/", 50);
        let shard = node.shards()[0]["pid"].to_string();
        let summary = node.dir.path().join("calls");
        // The thread of the executor only: it is the process's first.
        let mut strace = Command::new("strace")
            .args(["-qq", "-c", "-U", "calls,name", "-p", &shard, "-o"])
            .arg(&summary)
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let traced = format!("/proc/{shard}/status");
        until("strace is attached", || {
            let status = std::fs::read_to_string(&traced).expect("the shard lives");
            !status.contains("TracerPid:\t0\n")
        });
        requests(&address, "/run/hello/", TASKS);
        let pid = rustix::process::Pid::from_child(&strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("strace lives");
        strace.wait().expect("strace ends");
        let text = std::fs::read_to_string(&summary).expect("a summary");
        let count = |name: &str| {
            let row = text.lines().find_map(|line| {
                let mut cells = line.split_whitespace();
                let count = cells.next()?.parse::<f64>().ok()?;
                (cells.next() == Some(name)).then_some(count)
            });
            row.unwrap_or(0.0) / TASKS as f64
        };
        println!("{executor}:\n{text}");
        // A little more than one each: other things happen beside the tasks.
        for name in ["recvfrom", "sendto", "ioctl"] {
            let count = count(name);
            assert!((0.9..1.1).contains(&count), "{executor}: {name}\n{text}");
        }
        // Some happen now and then, which is more often in a slow run.
        for name in [
            "sendmsg",
            "mprotect",
            "madvise",
            "mmap",
            "munmap",
            "statx",
            "clock_gettime",
            "futex",
        ] {
            assert!(count(name) < 0.5, "{executor}: {name}\n{text}");
        }
    }
}

#[test]
fn a_shard_aware_client_reaches_its_shard_without_a_hop() {
    let node = Node::with_artifact(&["--shards", "2"], "hello.wasm", "hello");
    for shard in node.shards() {
        let address = shard["address"].as_str().expect("an address");
        for _ in 0..5 {
            let answer = request(address, "GET", "/run/hello/", &[], b"").expect("an answer");
            assert_eq!(answer.status, 200);
            let task = answer.header("vyr-task-id").expect("a task").to_owned();
            let task = node.json(&format!("/v0/tasks/{task}"));
            assert_eq!(task["shard"], shard["shard"]);
        }
    }
}

#[test]
fn a_shard_does_not_grow_with_its_tasks() {
    const GROWTH_KIB_MAX: u64 = 2048;
    let node = Node::with_artifact(&["--shards", "1"], "hello-grow.wasm", "hello");
    let address = node.address().to_owned();
    let shard = node.shards()[0]["pid"].to_string();
    let resident_kib = || memory_kib(&shard, "VmRSS");
    requests(&address, "/run/hello/", 3000);
    let before = resident_kib();
    requests(&address, "/run/hello/", 10_000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown <= GROWTH_KIB_MAX, "the shard grew by {grown} KiB");
}

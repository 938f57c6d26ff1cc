//! What goes wrong beside the tasks: shards that die, bytes that change.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

fn kill(shard: &serde_json::Value) {
    let pid = i32::try_from(shard["pid"].as_i64().expect("a pid")).expect("a pid");
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it runs");
}

/// Submits sleeping tasks until this shard has one.
fn task_on(node: &Node, shard: u64) -> String {
    loop {
        let output = node.vyr(&["task", "submit", "probe", "--", "sleep", "60000"], b"");
        let id = stdout(&output).trim().to_owned();
        if node.json(&format!("/v0/tasks/{id}"))["shard"].as_u64() == Some(shard) {
            return id;
        }
    }
}

#[test]
fn a_dead_shard_is_replaced_and_its_tasks_are_reported_lost() {
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let lost = task_on(&node, 1);
    // One client waits for the task through its own connection, wherever that lands.
    let mut waiting = node.command(&["task", "submit", "probe", "--wait", "--", "sleep", "60000"]);
    waiting
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut clients: Vec<_> = (0..6)
        .map(|_| waiting.spawn().expect("vyr starts"))
        .collect();
    let mut waits: Vec<_> = (0..4)
        .map(|_| {
            let (address, path) = (
                node.address().to_owned(),
                format!("/v0/tasks/{lost}?wait=60s"),
            );
            std::thread::spawn(move || request(&address, "GET", &path, &[], b""))
        })
        .collect();
    until("all run", || {
        node.json("/v0/tasks?status=running")["tasks"]
            .as_array()
            .is_some_and(|tasks| tasks.len() >= 7)
    });
    std::thread::sleep(Duration::from_millis(100));
    let survivors = node.json("/v0/tasks?status=running");
    let victim = &node.shards()[1];
    kill(victim);
    // Whoever still waits is told; a connection to the dead shard itself breaks.
    for wait in waits.drain(..) {
        if let Ok(answer) = wait.join().expect("no panic") {
            assert_eq!(answer.json()["status"], "failed", "{}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "shard_lost");
        }
    }
    until("the shard is back", || {
        let shards = node.shards();
        shards.len() == 2 && shards[1]["life"] == 1
    });
    let task = node.json(&format!("/v0/tasks/{lost}"));
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&"failed".into(), &"shard_lost".into())
    );
    // Tasks of the other shard go on; clients of lost ones learn it by themselves.
    for task in survivors["tasks"].as_array().expect("a list") {
        let id = task["id"].as_str().expect("an id");
        let now = node.json(&format!("/v0/tasks/{id}"));
        let expected = if task["shard"] == 1 {
            "failed"
        } else {
            "running"
        };
        assert_eq!(now["status"], expected, "{now}");
        if task["shard"] == 0 {
            node.request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"");
        }
    }
    for client in clients.drain(..) {
        let output = client.wait_with_output().expect("a child");
        let message = stderr(&output);
        assert!(
            output.status.code() == Some(1) && message.contains("shard_lost")
                || output.status.code() == Some(130) && message.contains("cancelled"),
            "{message}"
        );
    }
    let output = node.vyr(
        &["task", "submit", "probe", "--wait", "--", "exit", "5"],
        b"",
    );
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

fn files(dir: &std::path::Path, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir)
        .expect("readable")
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn damaged_artifacts_are_named_and_never_run() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let digest = {
        let node = Node::start(&["--shards", "1"]);
        let digest = node.put("hello.wasm", "hello");
        std::process::Command::new("cp")
            .args(["-r"])
            .arg(node.data_dir().join("artifacts"))
            .arg(data.path())
            .status()
            .expect("cp runs");
        digest
    };
    let blobs = data.path().join("artifacts/blobs/sha256");
    for blob in files(&blobs, "") {
        let node = Node::start(&["--shards", "1"]);
        node.put("hello.wasm", "hello");
        let name = blob.file_name().expect("a name");
        flip(&node.data_dir().join("artifacts/blobs/sha256").join(name));
        let answer = node.request("GET", "/run/hello/", &[], b"");
        // Nothing has loaded the artifact yet, so the flip is found before anything runs.
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "artifact_corrupt"),
            "{name:?}: {}",
            answer.text()
        );
        assert!(
            answer.json()["detail"]
                .as_str()
                .is_some_and(|text| text.contains(name.to_str().expect("hex"))),
            "{}",
            answer.text()
        );
        let verify = node.vyr(&["artifact", "verify", "hello"], b"");
        assert!(
            stderr(&verify).contains("artifact_corrupt"),
            "{}",
            stderr(&verify)
        );
        node.put("hello.wasm", "hello");
        assert_eq!(
            node.request("GET", "/run/hello/", &[], b"").status,
            200,
            "put again, it is whole"
        );
    }
    assert!(digest.starts_with("sha256:"));
}

#[test]
fn damaged_compiled_code_is_compiled_again() {
    let node = Node::start(&["--shards", "1"]);
    node.put("hello.wasm", "hello");
    let compiled = files(&node.data_dir().join("compiled"), ".cwasm");
    assert_eq!(compiled.len(), 1);
    let good = std::fs::read(&compiled[0]).expect("readable");
    flip(&compiled[0]);
    let answer = node.request("GET", "/run/hello/", &[], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello\n"));
    assert!(
        std::fs::read(&compiled[0]).expect("readable") == good,
        "it was replaced"
    );
}

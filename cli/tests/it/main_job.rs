//! The main job: a signed artifact, real data, the reference's bytes.

use std::process::{Command, Stdio};

use crate::support::*;

/// All 166,158 flight events as NDJSON.
fn flights() -> Option<Vec<u8>> {
    if !has("python3") {
        return None;
    }
    let output = Command::new("python3")
        .arg(root().join("scripts/flights-ndjson"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output.stdout)
}

fn expected_digest() -> String {
    let path = root().join("workloads/data/flights-2013h1.expected.sha256");
    let text = std::fs::read_to_string(path).expect("the reference's digest");
    text.split_whitespace().next().expect("a digest").to_owned()
}

#[test]
fn all_real_events_give_the_references_bytes_through_the_cli() {
    let Some(events) = flights() else { return };
    for executor in ["io_uring", "epoll"] {
        let keys = tempfile::tempdir().expect("a temporary directory");
        let key = keys
            .path()
            .join("key.pem")
            .to_str()
            .expect("UTF-8")
            .to_owned();
        assert!(run(&["key", "generate", &key], b"").status.success());
        let node = Node::start(&["--executor", executor, "--trust-key", &format!("{key}.pub")]);
        let file = guest("event-transform.wasm");
        let unsigned = node.vyr(
            &["artifact", "put", &file, "--name", "event-transform"],
            b"",
        );
        assert_eq!(unsigned.status.code(), Some(1));
        assert!(
            stderr(&unsigned).contains("artifact_signature_invalid"),
            "{}",
            stderr(&unsigned)
        );
        let signed = node.vyr(
            &[
                "artifact",
                "put",
                &file,
                "--name",
                "event-transform",
                "--sign-key",
                &key,
            ],
            b"",
        );
        assert!(signed.status.success(), "{}", stderr(&signed));
        let input = node.dir.path().join("flights.ndjson");
        std::fs::write(&input, &events).expect("writable");
        let input = input.to_str().expect("UTF-8");
        let output = node.vyr(
            &[
                "task",
                "submit",
                "event-transform",
                "--wait",
                "--input",
                input,
            ],
            b"",
        );
        assert!(output.status.success(), "{executor}: {}", stderr(&output));
        let digest = vyr_core::digest::Digest::of(&output.stdout);
        assert_eq!(digest.hex(), expected_digest(), "{executor}");
    }
}

#[test]
fn curl_alone_does_the_same() {
    if !has("curl") {
        return;
    }
    let node = Node::start(&[]);
    let sample = root().join("workloads/data/flights-sample.ndjson");
    let expected = std::fs::read(root().join("workloads/data/flights-sample.expected.ndjson"))
        .expect("committed");
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-H", "expect:"])
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = output.expect("curl runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        output.stdout
    };
    let wasm = format!("wasm=@{}", guest("event-transform.wasm"));
    let put = curl(&[
        "-X",
        "PUT",
        "-F",
        &wasm,
        &format!("{}/v0/artifacts?name=event-transform", node.url),
    ]);
    assert!(String::from_utf8_lossy(&put).contains("\"command\",\"http\""));
    let body = format!("@{}", sample.to_str().expect("UTF-8"));
    let streamed = curl(&[
        "-X",
        "POST",
        "-H",
        "content-type: application/x-ndjson",
        "--data-binary",
        &body,
        &format!(
            "{}/v0/tasks?artifact=event-transform&output=stream",
            node.url
        ),
    ]);
    assert!(streamed == expected, "as a command task, streamed");
    let waited = curl(&[
        "-X",
        "POST",
        "-H",
        "content-type: application/x-ndjson",
        "--data-binary",
        &body,
        &format!("{}/v0/tasks?artifact=event-transform&wait=60s", node.url),
    ]);
    let task: serde_json::Value = serde_json::from_slice(&waited).expect("a task");
    assert_eq!(task["status"], "succeeded", "{task}");
    let id = task["id"].as_str().expect("an id");
    assert!(
        curl(&[&format!("{}/v0/tasks/{id}/output", node.url)]) == expected,
        "as a command task, kept"
    );
    let http = curl(&[
        "-X",
        "POST",
        "-H",
        "content-type: application/x-ndjson",
        "--data-binary",
        &body,
        &format!("{}/run/event-transform/", node.url),
    ]);
    assert!(http == expected, "as an HTTP task");
}

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    let before = vyr_directories();
    let output = run(&["demo"], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "dead letters",
        "byte for byte",
        "INSTANTIATE",
        "P99.9",
        "SHARD",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stderr(&output).contains("removed"), "{}", stderr(&output));
    let after = vyr_directories();
    assert!(
        after
            .iter()
            .all(|dir| before.contains(dir) || dir.exists() && !dir.join("node").exists()),
        "{after:?}"
    );
}

/// Temporary directories that look like a demo's.
fn vyr_directories() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("readable");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("node/artifacts").exists())
        .collect()
}

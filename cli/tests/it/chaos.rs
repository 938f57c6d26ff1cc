//! Many clients, good and bad tasks, and a shard that is killed in the middle.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::*;

const CLIENTS: usize = 64;

/// How long the clients go on: a minute where the gate runs, less on a developer's machine.
fn duration() -> Duration {
    let seconds = std::env::var("VYR_TEST_CHAOS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// What a task of this kind is allowed to end as.
fn kinds() -> [(Value, &'static [&'static str]); 6] {
    let task = |arguments: &[&str]| json!({"artifact": "probe", "args": arguments});
    [
        (task(&["exit", "0"]), &["succeeded"]),
        (task(&["exit", "3"]), &["failed"]),
        (task(&["trap"]), &["failed"]),
        (task(&["sleep", "20"]), &["succeeded"]),
        (
            json!({"artifact": "probe", "args": ["spin"], "timeout_ms": 50}),
            &["timed_out"],
        ),
        (task(&["spin"]), &["cancelled"]),
    ]
}

fn descriptors(pid: &Value) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn resident_kib(pid: &Value) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim()
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[test]
fn every_accepted_task_ends_once_whatever_happens() {
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let shards = node.shards();
    let before: Vec<_> = shards
        .iter()
        .map(|shard| descriptors(&shard["pid"]))
        .collect();
    let accepted: Mutex<Vec<(String, usize)>> = Mutex::default();
    let answers: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (node, accepted, answers) = (&node, &accepted, &answers);
            scope.spawn(move || {
                let mut turn = client;
                while started.elapsed() < duration() {
                    turn += 1;
                    let answer = one(node, turn % kinds().len(), accepted);
                    *answers.lock().expect("no panic").entry(answer).or_default() += 1;
                }
            });
        }
        std::thread::sleep(duration() / 2);
        let victim = shards[1]["pid"].as_i64().expect("a pid");
        let pid = Pid::from_raw(i32::try_from(victim).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("it runs");
    });
    let answers = answers.into_inner().expect("no panic");
    eprintln!("answers: {answers:?}");
    assert!(
        answers
            .keys()
            .all(|answer| ["202", "503", "broken"].contains(&answer.as_str())),
        "{answers:?}"
    );
    let accepted = accepted.into_inner().expect("no panic");
    assert!(accepted.len() > 100, "{answers:?}");
    until("the shard is back", || node.shards().len() == 2);
    // Every accepted task that is still remembered has one terminal status, the fitting one.
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for (id, kind) in &accepted {
        let answer = node.request("GET", &format!("/v0/tasks/{id}?wait=30s"), &[], b"");
        if answer.status == 404 {
            // Beyond the bound of remembered tasks.
            continue;
        }
        let task = answer.json();
        let status = task["status"].as_str().expect("a status").to_owned();
        if task["error"]["code"] != "shard_lost" {
            assert!(kinds()[*kind].1.contains(&status.as_str()), "{task}");
        }
        *ends.entry(status).or_default() += 1;
    }
    eprintln!("ends: {ends:?}");
    assert!(
        ends.keys()
            .all(|status| status != "queued" && status != "running"),
        "{ends:?}"
    );
    until("nothing runs", || {
        node.shards()
            .iter()
            .all(|shard| shard["running"] == 0 && shard["queued"] == 0)
    });
    until("connections are closed again", || {
        node.shards()
            .iter()
            .zip(&before)
            .all(|(shard, before)| descriptors(&shard["pid"]) <= before + 12)
    });
    for shard in node.shards() {
        let resident = resident_kib(&shard["pid"]);
        assert!(
            resident < 600 << 10,
            "shard {} holds {resident} KiB",
            shard["shard"]
        );
    }
}

/// One submission, cancelled if it would never end. Says how it was answered.
fn one(node: &Node, kind: usize, accepted: &Mutex<Vec<(String, usize)>>) -> String {
    let (document, ends) = &kinds()[kind];
    let headers = ["content-type: application/json"];
    let address = node.address();
    let Ok(answer) = request(
        address,
        "POST",
        "/v0/tasks",
        &headers,
        document.to_string().as_bytes(),
    ) else {
        return "broken".into();
    };
    if answer.status == 202 {
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        if ends.contains(&"cancelled") {
            // A connection may land on the shard that is being killed; then it is asked again.
            let path = format!("/v0/tasks/{id}/cancel");
            until("the cancel is answered", || {
                request(address, "POST", &path, &[], b"").is_ok()
            });
        }
        accepted.lock().expect("no panic").push((id, kind));
    }
    answer.status.to_string()
}

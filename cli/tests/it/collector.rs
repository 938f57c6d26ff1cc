//! The disconnected collector: on a node whose sink comes and goes and whose task is killed, and under stock
//! wasmtime. `scripts/collector-outage` does the same over a network that is cut.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

fn readings() -> Vec<u8> {
    std::fs::read(root().join("workloads/data/weather-sample.ndjson")).expect("the sample")
}

/// The sink, which can be killed and started again on its address and journal.
struct Sink {
    address: String,
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl Sink {
    /// Its address is free, and nobody listens yet.
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        Self {
            address,
            dir: tempfile::tempdir().expect("a directory"),
            process: None,
        }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.dir.path().join("journal")
    }

    fn start(&mut self) {
        let journal = self.journal();
        let journal = journal.to_str().expect("UTF-8");
        let arguments = [
            "readings-sink",
            "--listen",
            &self.address,
            "--journal",
            journal,
            "--fail-every",
            "7",
        ];
        let mut command = vyr(&arguments);
        self.process = Some(command.stderr(Stdio::null()).spawn().expect("vyr starts"));
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("a child");
        }
    }

    /// The readings that are stored, by station.
    fn stored(&self) -> BTreeMap<String, Vec<String>> {
        let text = std::fs::read_to_string(self.journal()).unwrap_or_default();
        by_station(text.lines().filter(|line| !line.starts_with("{\"batch\"")))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.kill();
    }
}

fn by_station<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<String>> {
    let mut stations = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        let reading: Value = serde_json::from_str(line).expect("a reading");
        let station = reading["origin"].as_str().expect("a station").to_owned();
        stations.entry(station).or_default().push(line.to_owned());
    }
    stations
}

fn sent() -> BTreeMap<String, Vec<String>> {
    by_station(String::from_utf8(readings()).expect("UTF-8").lines())
}

#[test]
fn a_killed_collector_is_followed_by_one_that_delivers_the_rest() {
    let mut sink = Sink::new();
    let node = Node::start(&["--outgoing-host", &sink.address]);
    let manifest = node.dir.path().join("manifest.toml");
    let text = format!(
        "[[state]]\nname = \"buffer\"\n[capabilities]\noutgoing_hosts = [\"{}\"]\n",
        sink.address
    );
    std::fs::write(&manifest, text).expect("written");
    let put = node.vyr(
        &[
            "artifact",
            "put",
            &guest("disconnected-collector.wasm"),
            "--name",
            "collector",
            "--manifest",
            manifest.to_str().expect("UTF-8"),
        ],
        b"",
    );
    assert!(put.status.success(), "{}", stderr(&put));
    let created = node.vyr(&["state", "create", "--linger", "60s"], b"");
    let state = stdout(&created).trim().to_owned();
    let binding = format!("{state}=buffer");
    let upstream = format!("http://{}/readings", sink.address);
    let submit = |drain: &str| {
        let arguments = [
            "task",
            "submit",
            "collector",
            "--bind",
            &binding,
            "--input",
            "-",
            "--wait",
            "--",
            "--upstream",
            &upstream,
            "--retry-ms-max",
            "200",
            "--drain",
            drain,
        ];
        node.command(&arguments)
    };
    let keys = || {
        node.json(&format!("/v0/states/{state}"))["keys"]
            .as_u64()
            .expect("a number")
    };

    // Nobody listens: all is held, until the task is cancelled.
    let held = std::thread::scope(|scope| {
        let first = scope.spawn(|| finish(submit("600"), &readings()));
        until("all is held", || keys() > 3000);
        let task = node.json("/v0/tasks?status=running")["tasks"][0]["id"].clone();
        node.request(
            "POST",
            &format!("/v0/tasks/{}/cancel", task.as_str().expect("an id")),
            &[],
            b"",
        );
        assert_eq!(first.join().expect("no panic").status.code(), Some(130));
        keys()
    });
    assert_eq!(held, 3001, "the readings and the ledger");
    // The next one gets everything again while the sink comes and goes.
    sink.start();
    let output = std::thread::scope(|scope| {
        let second = scope.spawn(|| finish(submit("60"), &readings()));
        std::thread::sleep(Duration::from_millis(150));
        sink.kill();
        std::thread::sleep(Duration::from_millis(300));
        sink.start();
        second.join().expect("no panic")
    });
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&summary["duplicates_suppressed"], &summary["held"]),
        (&3000.into(), &0.into())
    );
    assert!(
        sink.stored() == sent(),
        "each reading once, in the order of its station"
    );
}

#[test]
fn the_same_component_collects_under_stock_wasmtime() {
    let Some(wasmtime) = std::env::var_os("VYR_WASMTIME") else {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "VYR_WASMTIME is not set"
        );
        eprintln!("skipped: VYR_WASMTIME is not set; scripts/test-dependencies sets it");
        return;
    };
    let mut sink = Sink::new();
    sink.start();
    let mut command = std::process::Command::new(wasmtime);
    command
        .args([
            "run",
            "-S",
            "http,keyvalue",
            &guest("disconnected-collector.wasm"),
            "--bucket=",
            "--upstream",
        ])
        .arg(format!("http://{}/readings", sink.address));
    let output = finish(command, &readings());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        sink.stored() == sent(),
        "each reading once, in the order of its station"
    );
}

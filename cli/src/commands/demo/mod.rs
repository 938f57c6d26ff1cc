//! `vyr demo`: the whole way of an artifact on a node that exists only for it.

mod collector;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use vyr_bench::{Address, Answer, Load, Pace, latency_histogram};
use vyr_client::{Client, NewArtifact, Submit, body_of_stream};
use vyr_core::artifact::SigningKey;
use vyr_core::id::{ShardNumber, TaskId};
use vyr_core::task::{Status, Task};

use super::block_on;
use crate::failure::CANCELLED;
use crate::output;
use collector::Uplink;

/// The reference workload, its real input, and what an independent program makes of that input.
const WASM: &[u8] = include_bytes!("../../../../workloads/artifacts/event-transform.wasm");
const EVENTS: &[u8] = include_bytes!("../../../../workloads/data/flights-sample.ndjson");
const EXPECTED: &[u8] = include_bytes!("../../../../workloads/data/flights-sample.expected.ndjson");

const NAME: &str = "event-transform";
const HTTP_TASKS: u64 = 6000;
const CONNECTIONS: usize = 16;
/// Results and dead letters that are shown.
const SHOWN: usize = 3;
const START_TIME_MAX: Duration = Duration::from_secs(30);
const LOAD_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    eprintln!("· key pair");
    let key = SigningKey::generate(Default::default())?;
    key.write_pair(&dir.path().join("key.pem"))?;
    let mut uplink = Uplink::new()?;
    let node = Node::start(dir.path(), uplink.address())?;
    let outcome = show(&node, &key, &mut uplink);
    node.stop()?;
    outcome?;
    let path = dir.path().to_owned();
    dir.close()
        .with_context(|| format!("cannot remove {}", path.display()))?;
    eprintln!(
        "· node stopped, {} removed; {:.1} s in all",
        path.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

fn show(node: &Node, key: &SigningKey, uplink: &mut Uplink) -> anyhow::Result<()> {
    let client = Client::new(&node.url)?;
    let task = block_on(async {
        eprintln!("· put and sign {NAME}.wasm ({} KiB)", WASM.len() >> 10);
        let artifact = NewArtifact {
            wasm: WASM.into(),
            name: Some(NAME.into()),
            ..NewArtifact::default()
        };
        let digest = put(&client, key, artifact).await?;
        println!("artifact  {NAME}  {digest}");
        command_task(&client).await
    })?;
    show_steps(&task)?;
    http_tasks(node.address)?;
    block_on(collector::show(&client, key, uplink))
}

async fn put(client: &Client, key: &SigningKey, artifact: NewArtifact) -> anyhow::Result<String> {
    let unsigned = client.put_artifact(artifact.clone()).await;
    ensure!(
        unsigned.is_err(),
        "a node with a trust key took an unsigned artifact"
    );
    let prepared = client
        .put_artifact(NewArtifact {
            dry_run: true,
            ..artifact.clone()
        })
        .await?;
    let signatures = vec![key.sign(prepared.manifest.as_bytes())];
    let put = client
        .put_artifact(NewArtifact {
            signatures,
            ..artifact
        })
        .await?;
    Ok(put.digest.to_string())
}

/// Streams the real events through one command task.
async fn command_task(client: &Client) -> anyhow::Result<Task> {
    let lines = EVENTS.iter().filter(|&&byte| byte == b'\n').count();
    eprintln!("· stream {lines} real flight events through one command task");
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        for chunk in EVENTS.chunks(64 << 10) {
            if sender.send(Ok(Bytes::from_static(chunk))).await.is_err() {
                return;
            }
        }
    });
    let submit = Submit {
        artifact: NAME.into(),
        ..Submit::default()
    };
    let mut stream = client
        .submit_streaming(&submit, body_of_stream(receiver))
        .await?;
    let id = stream.task.to_string();
    let mut output = Vec::new();
    while let Ok(Some(chunk)) = stream.next().await {
        output.extend_from_slice(&chunk);
    }
    let task = client.task(&id, Some("10s")).await?;
    ensure!(
        task.status == Status::Succeeded,
        "the task ended as {}: {:?}",
        task.status,
        task.error
    );
    ensure!(
        output == EXPECTED,
        "the task's output differs from the reference program's"
    );
    let text = String::from_utf8_lossy(&output);
    let dead = |line: &&str| line.contains("dead-letter");
    let (dead_letters, results): (Vec<_>, Vec<_>) = text.lines().partition(dead);
    println!("\n{} events transformed, for instance", results.len());
    for line in results.iter().take(SHOWN) {
        println!(
            "  {}",
            describe(
                line,
                &[
                    "time",
                    "data.carrier",
                    "data.origin.code",
                    "data.dest.code",
                    "data.delay_class",
                    "data.ground_speed_kmh"
                ]
            )
        );
    }
    println!("{} dead letters, for instance", dead_letters.len());
    for line in dead_letters.iter().take(SHOWN) {
        println!(
            "  {}",
            describe(line, &["data.line", "data.reason", "data.message"])
        );
    }
    println!("the output is, byte for byte, that of the independent reference program");
    Ok(task)
}

/// Some fields of a JSON line, by path.
fn describe(line: &str, paths: &[&str]) -> String {
    let document: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let field = |path: &&str| {
        let value = path
            .split('.')
            .try_fold(&document, |value, key| value.get(key))?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    paths
        .iter()
        .filter_map(field)
        .collect::<Vec<_>>()
        .join("  ")
}

fn show_steps(task: &Task) -> anyhow::Result<()> {
    let usage = &task.usage;
    let micros = |us: u64| format!("{:.3}", us as f64 / 1000.0);
    println!(
        "\nsteps of task {} on shard {}, milliseconds",
        task.id, task.shard
    );
    output::table(
        ["  QUEUE", "INSTANTIATE", "EXECUTE", "CPU", "TRACE"],
        &[[
            format!("  {}", micros(usage.queue_us)),
            micros(usage.instantiate_us),
            micros(usage.execute_us),
            micros(usage.cpu_us),
            task.trace_id.clone().unwrap_or_default(),
        ]],
    )?;
    Ok(())
}

/// Sends single events as HTTP tasks and shows the latency on each shard.
fn http_tasks(address: SocketAddr) -> anyhow::Result<()> {
    eprintln!("· {HTTP_TASKS} events as HTTP tasks over {CONNECTIONS} connections");
    let events: Vec<&[u8]> = EVENTS
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let request = |number: u64| {
        let event = events[number as usize % events.len()];
        let mut request = format!(
            "POST /run/{NAME}/ HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            event.len()
        )
        .into_bytes();
        request.extend_from_slice(event);
        request
    };
    let mut shards: BTreeMap<ShardNumber, Histogram<u64>> = BTreeMap::new();
    let answered = |_: u64, answer: &Answer, latency: Duration| {
        let id = answer
            .task_id
            .as_deref()
            .and_then(|id| id.parse::<TaskId>().ok());
        if let Some(id) = id {
            let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            shards
                .entry(id.shard())
                .or_insert_with(latency_histogram)
                .saturating_record(latency_ns);
        }
    };
    let load = Load {
        address: Address::Tcp(address),
        connections: CONNECTIONS,
        pace: Pace::Closed {
            requests: HTTP_TASKS,
        },
        time_out: LOAD_TIME_MAX,
    };
    let report = vyr_bench::run(&load, request, answered)?;
    if let Some(failure) = report.failures.first() {
        bail!(
            "{} HTTP tasks were not answered, the first: {}",
            report.failed,
            failure.error
        );
    }
    let statuses = &report.statuses;
    let count = |status: u16| statuses.get(&status).copied().unwrap_or(0);
    // The guest answers 422 to an event that is malformed, 400 to a body that is no event at all.
    let (transformed, dead) = (count(200), count(422) + count(400));
    ensure!(
        transformed + dead == HTTP_TASKS,
        "HTTP tasks were answered with {statuses:?}"
    );
    println!(
        "\n{transformed} HTTP tasks answered with an event, {dead} refused as malformed; latency in milliseconds,"
    );
    println!("a fresh instance each, client and node on the same machine");
    let millis = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let rows: Vec<_> = shards
        .iter()
        .map(|(shard, times)| {
            let at = |quantile| millis(times.value_at_quantile(quantile));
            [
                format!("  {shard}"),
                times.len().to_string(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                millis(times.max()),
            ]
        })
        .collect();
    output::table(
        ["  SHARD", "TASKS", "P50", "P90", "P99", "P99.9", "MAX"],
        &rows,
    )?;
    Ok(())
}

/// A node of our own, in a directory of our own.
struct Node {
    process: Child,
    url: String,
    address: SocketAddr,
}

impl Node {
    fn start(dir: &Path, uplink: SocketAddr) -> anyhow::Result<Self> {
        let mut process = Command::new(crate::node::own_program())
            .args([
                "node",
                "--listen",
                "127.0.0.1:0",
                "--drain",
                "1s",
                "--data-dir",
            ])
            .arg(dir.join("node"))
            .arg("--outgoing-host")
            .arg(uplink.to_string())
            .arg("--trust-key")
            .arg(dir.join("key.pem.pub"))
            .env(
                "VYR_LOG",
                std::env::var("VYR_LOG").unwrap_or_else(|_| "warn".into()),
            )
            .env_remove("VYR_TOKEN_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the node")?;
        remove_on_signal(dir.to_owned(), Pid::from_child(&process))?;
        let started = Instant::now();
        let mut url = String::new();
        let stdout = process
            .stdout
            .take()
            .context("the node's standard output")?;
        // The node prints its address when it is ready, or ends without a line.
        BufReader::new(stdout)
            .read_line(&mut url)
            .context("cannot read the node's address")?;
        let url = url.trim().to_owned();
        let address = url
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = process.wait();
            bail!("the node did not start; see its message above");
        };
        ensure!(
            started.elapsed() < START_TIME_MAX,
            "the node took too long to start"
        );
        eprintln!(
            "· node at {url}, ready after {} ms",
            started.elapsed().as_millis()
        );
        Ok(Self {
            process,
            url,
            address,
        })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .context("cannot stop the node")?;
        let status = self.process.wait().context("cannot wait for the node")?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

/// Leaves nothing behind when the demo is interrupted either.
fn remove_on_signal(dir: PathBuf, node: Pid) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .context("cannot watch for signals")?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The node may have had the signal too and have ended.
            let _ = kill_process(node, Signal::TERM);
            std::thread::sleep(Duration::from_millis(1500));
            let _ = std::fs::remove_dir_all(&dir);
            let _ = writeln!(std::io::stderr(), "interrupted");
            std::process::exit(i32::from(CANCELLED));
        }
    });
    Ok(())
}

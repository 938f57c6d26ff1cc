//! `vyr bench engine`: tasks per second without HTTP, on shard processes as a node has them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use serde::{Deserialize, Serialize};
use vyr_core::artifact::Manifest;
use vyr_shard::artifact::Compiler;
use vyr_shard::rt::{self, ExecutorChoice, ExecutorConfig};
use vyr_shard::{BodyError, Shard, ShardConfig};

use crate::arguments::{BenchEngine, EngineShard};
use crate::output;

const HELLO: &[u8] = include_bytes!("../../../../workloads/artifacts/hello.wasm");
/// Tasks before anything is counted.
const WARM_UP_TASKS: u64 = 2000;
/// Tasks whose system calls are counted, in a run of their own because counting is slow.
const COUNTED_TASKS: u64 = 2000;
const COUNTED_CALLS: [&str; 3] = ["mprotect", "madvise", "ioctl"];

/// What one shard process did.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    tasks: u64,
    elapsed_s: f64,
    cpu_s: f64,
    page_faults: u64,
}

#[derive(Debug, Serialize)]
struct Results {
    tasks_per_second: f64,
    shards: u16,
    guest: String,
    per_task: PerTask,
}

/// What a task costs, on average.
#[derive(Debug, Serialize)]
struct PerTask {
    cpu_us: f64,
    page_faults: f64,
    /// Absent without strace.
    #[serde(flatten)]
    calls: Option<std::collections::BTreeMap<&'static str, f64>>,
}

pub(super) fn run(arguments: &BenchEngine) -> anyhow::Result<ExitCode> {
    let cpus = vyr_bench::pin::allowed().context("cannot learn which processors may be used")?;
    if cpus.len() < usize::from(arguments.shards) {
        bail!(
            "{} shards need a processor each and only {} may be used; give fewer --shards",
            arguments.shards,
            cpus.len()
        );
    }
    let work = tempfile::tempdir().context("cannot make a directory")?;
    let guest = match &arguments.guest {
        Some(path) => path.clone(),
        None => {
            let path = work.path().join("hello.wasm");
            std::fs::write(&path, HELLO).context("cannot write the guest")?;
            path
        }
    };
    let shards = cpus.iter().take(usize::from(arguments.shards));
    let mut shards = shards
        .map(|&cpu| {
            let own = crate::node::own_program();
            start(&mut shard_command(&own, cpu, &guest, arguments.duration))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // All begin when all are ready.
    for shard in &mut shards {
        shard.go()?;
    }
    let done = shards
        .into_iter()
        .map(Running::finish)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let tasks: u64 = done.iter().map(|done| done.tasks).sum();
    let per_task = |sum: f64| sum / tasks as f64;
    let results = Results {
        tasks_per_second: done
            .iter()
            .map(|done| done.tasks as f64 / done.elapsed_s)
            .sum(),
        shards: arguments.shards,
        guest: guest
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        per_task: PerTask {
            cpu_us: per_task(done.iter().map(|done| done.cpu_s * 1e6).sum()),
            page_faults: per_task(done.iter().map(|done| done.page_faults as f64).sum()),
            calls: if arguments.skip_calls {
                None
            } else {
                count_calls(cpus[0], &guest, work.path())?
            },
        },
    };
    if arguments.json {
        output::json(&results)?;
    } else {
        println!(
            "{}: {:.0} tasks per second on {} shards; per task {:.2} µs CPU, {:.3} page faults",
            results.guest,
            results.tasks_per_second,
            results.shards,
            results.per_task.cpu_us,
            results.per_task.page_faults
        );
        match &results.per_task.calls {
            None if arguments.skip_calls => {}
            None => eprintln!("vyr: system calls were not counted: strace is not installed"),
            Some(calls) => {
                for (name, count) in calls {
                    println!("{name}: {count:.3} per task");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shard_command(program: &Path, cpu: usize, guest: &Path, duration_ms: u64) -> Command {
    let mut command = Command::new(program);
    command
        .args(["bench", "engine-shard", "--cpu", &cpu.to_string()])
        .args(["--duration", &duration_ms.to_string(), "--guest"])
        .arg(guest)
        .env("RUST_BACKTRACE", "0");
    command
}

struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// Starts a shard process and waits until it is ready.
fn start(command: &mut Command) -> anyhow::Result<Running> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a shard process")?;
    let output = child.stdout.take().context("the shard has no output")?;
    let mut running = Running {
        child,
        output: BufReader::new(output),
    };
    let mut line = String::new();
    running.output.read_line(&mut line)?;
    if line.is_empty() {
        bail!("a shard process did not get ready; it says why above");
    }
    Ok(running)
}

impl Running {
    fn go(&mut self) -> anyhow::Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .context("the shard has no input")?;
        input.write_all(b"\n").context("a shard process has ended")
    }

    fn finish(mut self) -> anyhow::Result<Done> {
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        serde_json::from_str(&text).context("a shard process ended without results")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended unless something went wrong here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// System calls per task, from strace's own summary.
fn count_calls(
    cpu: usize,
    guest: &Path,
    dir: &Path,
) -> anyhow::Result<Option<std::collections::BTreeMap<&'static str, f64>>> {
    let summary = dir.join("calls");
    let mut counts = Vec::new();
    for tasks in [0, COUNTED_TASKS] {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-c", "-U", "calls,name", "-o"])
            .arg(&summary)
            .env("RUST_BACKTRACE", "0");
        let shard = shard_command(&crate::node::own_program(), cpu, guest, 60_000);
        command.arg(shard.get_program()).args(shard.get_args());
        command.args(["--tasks-max", &tasks.to_string()]);
        let Ok(mut running) = start(&mut command) else {
            return Ok(None);
        };
        running.go()?;
        running.finish()?;
        let text = std::fs::read_to_string(&summary).context("strace wrote no summary")?;
        counts.push(COUNTED_CALLS.map(|name| count_in(&text, name)));
    }
    // What starting and warming up needs is in both.
    let per_task = |at: usize| (counts[1][at] - counts[0][at]) / COUNTED_TASKS as f64;
    let pairs = COUNTED_CALLS
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, per_task(at)));
    Ok(Some(pairs.collect()))
}

fn count_in(summary: &str, name: &str) -> f64 {
    let row = summary.lines().find_map(|line| {
        let mut cells = line.split_whitespace();
        let count = cells.next()?.parse::<f64>().ok()?;
        (cells.next() == Some(name)).then_some(count)
    });
    row.unwrap_or(0.0)
}

/// One shard, as its own process.
pub(super) fn shard(arguments: &EngineShard) -> anyhow::Result<ExitCode> {
    vyr_shard::cpu::remember_allowed();
    let config = ExecutorConfig {
        kind: rt::decide(ExecutorChoice::Auto)?.kind,
        cpu: Some(arguments.cpu),
        name: "engine".into(),
    };
    let component = super::super::read(&arguments.guest)?;
    let dir = tempfile::tempdir().context("cannot make a directory")?;
    let path: PathBuf = dir.path().into();
    let done = rt::run(&config, async || drive(arguments, component, path).await)??;
    serde_json::to_writer(std::io::stdout(), &done)?;
    Ok(ExitCode::SUCCESS)
}

async fn drive(
    arguments: &EngineShard,
    component: Vec<u8>,
    data_dir: PathBuf,
) -> anyhow::Result<Done> {
    let compiler = Compiler::Process(crate::node::own_program());
    let shard = Shard::open(ShardConfig::alone(data_dir, compiler))?;
    let digest = shard.adopt(component, Manifest::default()).await?;
    let task = async || {
        let body = Empty::<Bytes>::new().map_err(|never| BodyError(never.to_string()));
        let request = http::Request::get("http://engine/").body(body)?;
        let (task, response) = shard.invoke(&digest, request, shard.arrival(None)).await?;
        match response {
            Some(response) => Ok(response.into_body().collect().await.map(drop)?),
            None => Err(anyhow::anyhow!(
                "task {} failed: {:?}",
                task.id(),
                task.error()
            )),
        }
    };
    for _ in 0..WARM_UP_TASKS {
        task().await?;
    }
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    let before = usage();
    let started = Instant::now();
    let duration = Duration::from_millis(arguments.duration);
    let tasks_max = arguments.tasks_max.unwrap_or(u64::MAX);
    let mut tasks = 0;
    while tasks < tasks_max && started.elapsed() < duration {
        task().await?;
        tasks += 1;
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    let after = usage();
    Ok(Done {
        tasks,
        elapsed_s,
        cpu_s: after.0 - before.0,
        page_faults: after.1 - before.1,
    })
}

/// CPU seconds and page faults of this process so far.
fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name: fault counts and ticks at fixed places (proc_pid_stat(5)).
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields.split_whitespace().collect())
        .unwrap_or_default();
    let number = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let cpu_s = vyr_bench::cpu_ns(std::process::id()) as f64 / 1e9;
    (cpu_s, number(7))
}

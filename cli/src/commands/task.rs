//! `vyr task`.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;
use vyr_client::{Body, Client, Submit, TaskFilter, body_of_stream};
use vyr_core::id::TaskId;
use vyr_core::task::Task;

use super::{block_on, client};
use crate::arguments::{Connection, Format, SubmitTask, Task as Command};
use crate::{failure, output};

/// Bytes read from the input at a time.
const INPUT_CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait to be sent.
const INPUT_CHUNKS_MAX: usize = 8;
/// One wait for a task; it is repeated until the task has ended.
const WAIT: &str = "60s";
/// Tries to find a task again after its connection broke.
const LOOK_UP_TRIES: u32 = 20;

pub(crate) fn run(command: Command, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    block_on(async move {
        match command {
            Command::Submit(arguments) => return submit(&client, arguments).await,
            Command::Ls {
                status,
                artifact,
                limit,
                output,
            } => {
                let status = status.map(|status| status.to_string());
                let filter = TaskFilter {
                    status,
                    artifact,
                    limit: Some(limit),
                    cursor: None,
                };
                list(&client.tasks(&filter).await?.tasks, output)?;
            }
            Command::Status { id, output } => show(&client.task(&id, None).await?, output)?,
            Command::Wait { id, output } => {
                let task = wait(&client, &id).await?;
                show(&task, output)?;
                return Ok(failure::of_task(&task));
            }
            Command::Output { id } => print(&client.task_output(&id).await?)?,
            Command::Logs { id } => print(&client.task_logs(&id).await?)?,
            Command::Cancel { id, output } => show(&client.cancel_task(&id).await?, output)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn submit(client: &Client, arguments: SubmitTask) -> anyhow::Result<ExitCode> {
    let input = input(arguments.input.as_deref())?;
    let wait = arguments.wait;
    let submit = Submit {
        artifact: arguments.reference,
        arguments: [arguments.argument, arguments.arguments].concat(),
        environment: pairs(&arguments.environment),
        config: pairs(&arguments.config),
        bindings: arguments.bindings,
        timeout: arguments.timeout.map(|ms| format!("{ms}ms")),
        idempotency_key: arguments.idempotency_key,
    };
    if wait {
        return stream(client, &submit, input).await;
    }
    let task = client.submit(&submit, input).await?;
    println!("{}", task.id);
    eprintln!(
        "accepted; 'vyr task wait {0}' waits for it, 'vyr task output {0}' prints its output",
        task.id
    );
    Ok(ExitCode::SUCCESS)
}

fn pairs(pairs: &[(String, String)]) -> Vec<String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Prints the output as it comes, then the log, and ends as the guest ended.
async fn stream(client: &Client, submit: &Submit, input: Body) -> anyhow::Result<ExitCode> {
    let mut output = client.submit_streaming(submit, input).await?;
    let id = output.task;
    let printing = async {
        loop {
            match output.next().await {
                Ok(Some(bytes)) => print(&bytes)?,
                // Why a stream broke off is what the task itself tells.
                Ok(None) | Err(_) => return anyhow::Ok(()),
            }
        }
    };
    let interrupted = async {
        tokio::signal::ctrl_c()
            .await
            .context("cannot watch for Ctrl-C")?;
        client.cancel_task(&id.to_string()).await?;
        anyhow::Ok(())
    };
    tokio::select! {
        printed = printing => printed?,
        cancelled = interrupted => cancelled?,
    }
    let task = look_up(client, id).await?;
    if task.log_bytes > 0 {
        // The log is a help; the task's end is told without it.
        if let Ok(log) = client.task_logs(&id.to_string()).await {
            io::stderr().write_all(&log)?;
        }
    }
    Ok(failure::of_task(&task))
}

/// The ended task, through a new connection: the shard that streamed its output may be gone.
async fn look_up(client: &Client, id: TaskId) -> anyhow::Result<Task> {
    let mut tries = 0;
    loop {
        match client.task(&id.to_string(), Some("5s")).await {
            Ok(task) if task.status.is_terminal() => return Ok(task),
            Ok(_) => {}
            Err(vyr_client::Error::Connection { .. }) if tries < LOOK_UP_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn wait(client: &Client, id: &str) -> anyhow::Result<Task> {
    loop {
        let task = client.task(id, Some(WAIT)).await?;
        if task.status.is_terminal() {
            return Ok(task);
        }
    }
}

/// The input as a body that is read as it is sent; a read error breaks the request off, so that the
/// task does not take a part for the whole.
fn input(path: Option<&Path>) -> anyhow::Result<Body> {
    let (sender, receiver) = mpsc::channel(INPUT_CHUNKS_MAX);
    let mut source: Box<dyn Read + Send> = match path {
        None => Box::new(io::empty()),
        Some(path) if path == Path::new("-") => Box::new(io::stdin()),
        Some(path) => Box::new(
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?,
        ),
    };
    std::thread::spawn(move || {
        let mut buffer = vec![0; INPUT_CHUNK_BYTES];
        loop {
            let chunk = match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    Ok(body_of_stream(receiver))
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn list(tasks: &[Task], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&tasks);
    }
    let rows: Vec<_> = tasks
        .iter()
        .map(|task| {
            [
                task.id.to_string(),
                task.status.to_string(),
                task.kind.map_or_else(String::new, |kind| kind.to_string()),
                task.shard.to_string(),
                format!("{:.3}", task.usage.execute_us as f64 / 1000.0),
                task.error
                    .as_ref()
                    .map_or_else(String::new, |error| error.code.to_string()),
            ]
        })
        .collect();
    output::table(
        ["TASK", "STATUS", "KIND", "SHARD", "EXECUTE_MS", "ERROR"],
        &rows,
    )?;
    Ok(())
}

fn show(task: &Task, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(task);
    }
    let usage = &task.usage;
    let mut rows = vec![
        ("task", task.id.to_string()),
        ("status", task.status.to_string()),
    ];
    if let Some(artifact) = &task.artifact {
        rows.push(("artifact", artifact.to_string()));
    }
    if let Some(kind) = task.kind {
        rows.push(("kind", kind.to_string()));
    }
    rows.push(("shard", task.shard.to_string()));
    if let Some(code) = task.exit_code {
        rows.push(("exit code", code.to_string()));
    }
    if let Some(error) = &task.error {
        rows.push(("error", format!("{}: {}", error.code, error.message)));
    }
    if let Some(trace) = &task.trace_id {
        rows.push(("trace", trace.clone()));
    }
    rows.push((
        "times",
        format!(
            "queue {} µs, instantiate {} µs, execute {} µs, CPU {} µs, {}",
            usage.queue_us,
            usage.instantiate_us,
            usage.execute_us,
            usage.cpu_us,
            if usage.cold { "cold" } else { "warm" }
        ),
    ));
    rows.push(("memory", format!("{} bytes", usage.memory_peak_bytes)));
    rows.push(("output", format!("{} bytes kept", task.output_bytes)));
    rows.push((
        "log",
        format!(
            "{} bytes kept, {} dropped",
            task.log_bytes, task.log_bytes_dropped
        ),
    ));
    output::facts(&rows)?;
    Ok(())
}

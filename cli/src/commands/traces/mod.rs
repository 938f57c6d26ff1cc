//! `vyr traces`.

pub(crate) mod step;
pub(crate) mod waterfall;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use vyr_client::{Client, Lost, Span, TraceEvent};
use vyr_core::task::Task;

use self::step::Step;
use self::waterfall::Waterfall;
use super::figures::{printable, time, time_of_day};
use super::{block_on, client, until_interrupted};
use crate::arguments::{Connection, Format, StreamTraces, Traces as Command};

/// Cells of a waterfall's bars.
const BAR_CELLS: usize = 40;
/// The most steps of a task that its waterfall shows.
const STEPS_MAX: usize = 1024;
/// What a node still has of an ended task comes at once: a stream that brought no end in this time
/// brings none.
const KEPT_WAIT: Duration = Duration::from_secs(3);

pub(crate) fn run(command: Command, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    let Command::Stream(arguments) = command;
    block_on(until_interrupted(async move {
        match &arguments.task {
            Some(task) => {
                // The stream first, so that nothing falls between the two.
                let following = stream(&client, &arguments);
                tokio::pin!(following);
                tokio::select! {
                    result = &mut following => return result,
                    result = ended(&client, task) => result,
                }?;
                let rest = tokio::time::timeout(KEPT_WAIT, following).await;
                rest.unwrap_or_else(|_| {
                    bail!("task {task} has ended, and the node does not keep its spans any more; follow a task while it runs")
                })
            }
            None => stream(&client, &arguments).await,
        }
    }))
}

/// Waits until a task has ended.
async fn ended(client: &Client, task: &str) -> anyhow::Result<Task> {
    loop {
        let task = client.task(task, Some("30s")).await?;
        if task.status.is_terminal() {
            return Ok(task);
        }
    }
}

/// Prints spans as they come; with a task, until its whole came.
async fn stream(client: &Client, arguments: &StreamTraces) -> anyhow::Result<ExitCode> {
    let StreamTraces {
        task,
        artifact,
        output,
    } = arguments;
    let mut stream = client.traces(task.as_deref(), artifact.as_deref()).await?;
    if *output == Format::Table {
        writeln!(io::stdout(), "{HEADINGS}")?;
    }
    let mut steps = Vec::new();
    loop {
        let span = match stream.next().await? {
            TraceEvent::Span(span) => span,
            TraceEvent::Lost(lost) => {
                warn_of_loss(lost.value);
                continue;
            }
        };
        match output {
            Format::Json => writeln!(io::stdout(), "{}", span.json)?,
            Format::Table => writeln!(io::stdout(), "{}", line(&span.value))?,
        }
        if task.is_none() {
            continue;
        }
        if steps.len() < STEPS_MAX || span.value.is_task() {
            steps.push(Step::of(&span.value));
        }
        if span.value.is_task() {
            if *output == Format::Table {
                writeln!(io::stdout())?;
                for line in Waterfall::of(&steps).lines(BAR_CELLS) {
                    writeln!(io::stdout(), "{line}")?;
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
}

const HEADINGS: &str =
    "TIME          TRACE     TASK                         NAME              DURATION  STATUS";

fn line(span: &Span) -> String {
    let task = span
        .task()
        .map_or_else(|| "-".into(), |task| task.to_string());
    let status = match span.error() {
        Some("") => "error",
        Some(error) => error,
        None if span.is_task() => span.text("vyr.task.status").unwrap_or("ok"),
        None => "ok",
    };
    let trace = span.trace_id.chars().take(8).collect::<String>();
    format!(
        "{}  {:<8}  {task:<27}  {:<16}  {:>8}  {}",
        time_of_day(span.start_unix_ns / 1_000_000),
        printable(&trace),
        printable(&span.name),
        time(span.duration_ns()),
        printable(status),
    )
}

fn warn_of_loss(lost: Lost) {
    eprintln!(
        "warning: {} spans of shard {} came faster than they were read and are lost",
        lost.spans, lost.shard
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_below_its_headings() {
        let span = serde_json::json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
            "name": "execute", "kind": 1, "startTimeUnixNano": "1700000000042000000",
            "endTimeUnixNano": "1700000000054300000", "attributes": [
                {"key": "vyr.task.id", "value": {"stringValue": "t01hf7yat00000000000000000a"}},
            ], "status": {"code": 2, "message": "guest_trap"},
        });
        let span: Span = serde_json::from_value(span).expect("a span");
        assert_eq!(
            format!("{HEADINGS}\n{}", line(&span)),
            "TIME          TRACE     TASK                         NAME              DURATION  STATUS\n\
             22:13:20.042  0af76519  t01hf7yat00000000000000000a  execute             12.3ms  guest_trap"
        );
    }
}

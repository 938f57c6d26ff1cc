//! What keeps the model fed: two streams and some polls, each begun again when it breaks.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use vyr_client::{Client, Error, MetricEvent, TaskFilter, TraceEvent};
use vyr_core::id::TaskId;
use vyr_core::task::Status;

use super::model::{Stream, Update};
use super::recent::digest_shown;

/// Updates that may wait to be taken in.
pub(crate) const UPDATES_MAX: usize = 1024;
/// The first and the longest wait before a stream is begun again.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The longest that the begin of a stream or a poll may take.
const CALL_MAX: Duration = Duration::from_secs(5);
const NODE_EVERY: Duration = Duration::from_secs(2);
const NAMES_EVERY: Duration = Duration::from_secs(30);
const RUNNING_EVERY: Duration = Duration::from_millis(500);
/// Running tasks that are listed.
const RUNNING_MAX: usize = 100;
/// More spans than this in a second are left to the node to lose and to count: a picture of the
/// newest tasks is not worth a core.
const SPANS_PER_SECOND_MAX: u32 = 10_000;
const SECOND: Duration = Duration::from_secs(1);

/// Where updates go to.
type Updates = mpsc::Sender<Update>;

/// What the user wants from the node.
pub(crate) struct Wants {
    /// Whether running tasks are looked at.
    pub(crate) running: watch::Receiver<bool>,
    /// Tasks to cancel.
    pub(crate) cancel: mpsc::Receiver<TaskId>,
}

/// Feeds for ever; ends only when nobody takes updates any more.
pub(crate) async fn run(client: &Client, interval: Duration, updates: Updates, wants: Wants) {
    tokio::join!(
        repeat(Stream::Metrics, &updates, async || metrics(
            client, interval, &updates
        )
        .await),
        repeat(Stream::Traces, &updates, async || traces(client, &updates)
            .await),
        node(client, &updates),
        names(client, &updates),
        running(client, &updates, wants.running),
        cancel(client, &updates, wants.cancel),
    );
}

/// Why a stream ended.
enum End {
    /// It broke.
    Broke(Error),
    /// The node did not answer in time.
    Silent,
    /// Nobody takes updates any more.
    Unwanted,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Broke(error)
    }
}

impl From<mpsc::error::SendError<Update>> for End {
    fn from(_: mpsc::error::SendError<Update>) -> Self {
        Self::Unwanted
    }
}

/// Begins a stream again and again, at growing distances while it does not come about.
async fn repeat(stream: Stream, updates: &Updates, mut follow: impl AsyncFnMut() -> End) {
    let mut wait = RETRY_MIN;
    loop {
        let begun = Instant::now();
        let reason = match follow().await {
            End::Broke(error) => error.to_string(),
            End::Silent => format!("no answer in {} s", CALL_MAX.as_secs()),
            End::Unwanted => return,
        };
        if begun.elapsed() > RETRY_MAX {
            wait = RETRY_MIN;
        }
        let reason = format!("trying again in {:.1} s: {reason}", wait.as_secs_f64());
        let told = updates.send(Update::Stream(stream, Err(reason))).await;
        if told.is_err() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn metrics(client: &Client, interval: Duration, updates: &Updates) -> End {
    let follow = async || -> Result<(), End> {
        let begin = timeout(CALL_MAX, client.metrics(interval, None)).await;
        let mut stream = begin.map_err(|_| End::Silent)??;
        updates
            .send(Update::Stream(Stream::Metrics, Ok(())))
            .await?;
        loop {
            let update = match stream.next().await? {
                MetricEvent::Shard(metrics) => Update::Metrics(Box::new(metrics.value)),
                MetricEvent::Missing(missing) => Update::Missing(missing.value.shard),
            };
            updates.send(update).await?;
        }
    };
    follow().await.err().unwrap_or(End::Unwanted)
}

async fn traces(client: &Client, updates: &Updates) -> End {
    let follow = async || -> Result<(), End> {
        let begin = timeout(CALL_MAX, client.traces(None, None)).await;
        let mut stream = begin.map_err(|_| End::Silent)??;
        updates.send(Update::Stream(Stream::Traces, Ok(()))).await?;
        let (mut second, mut spans) = (Instant::now(), 0);
        loop {
            let update = match stream.next().await? {
                TraceEvent::Span(span) => Update::Span(Box::new(span.value)),
                TraceEvent::Lost(lost) => Update::Lost(lost.value),
            };
            updates.send(update).await?;
            spans += 1;
            if second.elapsed() >= SECOND {
                (second, spans) = (Instant::now(), 0);
            } else if spans >= SPANS_PER_SECOND_MAX {
                sleep_until(second + SECOND).await;
            }
        }
    };
    follow().await.err().unwrap_or(End::Unwanted)
}

/// The node's description. That it does not come is what the streams tell.
async fn node(client: &Client, updates: &Updates) {
    loop {
        if let Ok(Ok(node)) = timeout(CALL_MAX, client.describe_node()).await
            && updates.send(Update::Node(node)).await.is_err()
        {
            return;
        }
        sleep(NODE_EVERY).await;
    }
}

/// The artifacts' names; those of the first page, which are more than a picture shows.
async fn names(client: &Client, updates: &Updates) {
    loop {
        if let Ok(Ok(page)) = timeout(CALL_MAX, client.artifacts(None)).await {
            let artifacts = page.artifacts.iter();
            let names: HashMap<_, _> = artifacts
                .filter_map(|artifact| {
                    let name = artifact.names.first()?;
                    let name = name.strip_suffix(":latest").unwrap_or(name);
                    Some((digest_shown(&artifact.digest.to_string()), name.to_owned()))
                })
                .collect();
            if updates.send(Update::Names(names)).await.is_err() {
                return;
            }
        }
        sleep(NAMES_EVERY).await;
    }
}

/// The running tasks, while someone looks at them.
async fn running(client: &Client, updates: &Updates, mut wanted: watch::Receiver<bool>) {
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let filter = TaskFilter {
            status: Some(Status::Running.to_string()),
            limit: Some(RUNNING_MAX),
            ..TaskFilter::default()
        };
        if let Ok(Ok(page)) = timeout(CALL_MAX, client.tasks(&filter)).await
            && updates.send(Update::Running(page.tasks)).await.is_err()
        {
            return;
        }
        sleep(RUNNING_EVERY).await;
    }
}

/// Cancels tasks, and tells what became of it.
async fn cancel(client: &Client, updates: &Updates, mut tasks: mpsc::Receiver<TaskId>) {
    while let Some(id) = tasks.recv().await {
        let answer = match timeout(CALL_MAX, client.cancel_task(&id.to_string())).await {
            Ok(Ok(task)) => format!("task {id} is {}", task.status),
            Ok(Err(error)) => format!("task {id} is not cancelled: {error}"),
            Err(_) => format!("task {id}: no answer in {} s", CALL_MAX.as_secs()),
        };
        if updates.send(Update::Answer(answer)).await.is_err() {
            return;
        }
    }
}

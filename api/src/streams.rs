//! What happens on the node, as it happens: finished spans and metrics as server-sent events.
//!
//! Shards keep the last records of their tasks' steps, numbered. A watcher is a number for each shard:
//! it asks for what came since, a few times a second, here and over the shards' sockets. So watching
//! costs a task nothing; a watcher that reads too slowly finds that records are gone, and how many.
//!
//! The format is that of <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use vyr_core::artifact::Reference;
use vyr_core::digest::Digest;
use vyr_core::id::{ShardLife, ShardNumber, TaskId};
use vyr_core::metrics::Snapshot;
use vyr_core::problem::Code;
use vyr_core::trace::{Passed, Recent, Record};
use vyr_shard::rt;

use crate::app::App;
use crate::body::ResponseBody;
use crate::failure::{Failure, with_type};
use crate::query::Query;
use crate::route::Internal;
use crate::span_json::span_json;

/// How often a watcher of traces asks.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Spans of one answer of one shard; whoever wants more asks again at once.
const SPANS_MAX: usize = 1024;
/// Spans that are written out without a break: about as many as take a tenth of a millisecond.
const SPANS_PER_SLICE_MAX: usize = 64;
/// Answers that wait for the client. Then nobody asks until it has read one.
const CHUNKS_MAX: usize = 2;
/// How often something is sent, so that both ends learn of a connection that is gone.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);
/// How often metrics are sent unless the client says otherwise, and the shortest and longest time.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Which spans are wanted.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    task: Option<TaskId>,
    artifact: Option<Digest>,
}

impl Wanted {
    fn has(&self, record: &Record) -> bool {
        self.task.is_none_or(|task| record.task == task)
            && self
                .artifact
                .is_none_or(|digest| record.artifact == Some(digest))
    }

    /// As the query by which another shard is asked.
    fn query(&self, after: Option<Cursor>) -> String {
        let mut query = Vec::new();
        query.extend(after.map(|Cursor { life, next }| format!("life={}&after={next}", life.0)));
        query.extend(self.task.map(|task| format!("task={task}")));
        query.extend(self.artifact.map(|digest| format!("artifact={digest}")));
        query.join("&")
    }
}

/// Which record of a shard a watcher wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The life that numbered the records: a restarted shard begins with 0 again.
    life: ShardLife,
    next: u64,
}

impl Cursor {
    /// The number to read on from: that of the cursor, or all of a life that began after it was given.
    fn number(self, life: ShardLife) -> u64 {
        if self.life == life { self.next } else { 0 }
    }

    /// Where a watcher begins: now, or if it wants one task, with the past that is still kept.
    fn first(wanted: &Wanted, life: ShardLife, recent: &Recent) -> Self {
        let next = match wanted.task {
            Some(_) => recent.oldest(),
            None => recent.next(),
        };
        Self { life, next }
    }
}

/// The first line of a shard's answer; the events follow.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    cursor: Cursor,
    /// Whether there may be more already.
    more: bool,
}

/// `GET /v0/traces`: finished spans of all shards. With `task`, those of the past too that are still
/// kept.
pub(crate) fn traces<B>(
    app: &Rc<App>,
    request: &Request<B>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["task", "artifact"])?;
    let artifact = query.parsed::<Reference>("artifact")?;
    let wanted = Wanted {
        task: query.parsed("task")?,
        artifact: artifact
            .map(|artifact| app.shard.resolve(&artifact))
            .transpose()?,
    };
    watch(app, async move |app, watcher| {
        let own = app.shard.number();
        let mut cursors: Vec<(ShardNumber, Option<Cursor>)> = app
            .peers
            .others()
            .chain([own])
            .map(|shard| (shard, None))
            .collect();
        loop {
            let (mut chunk, mut any_more) = (String::new(), false);
            for (shard, cursor) in &mut cursors {
                let answer = if *shard == own {
                    Some(spans_since(app, &wanted, *cursor).await)
                } else {
                    other_spans(app, *shard, &wanted, *cursor).await
                };
                if let Some((progress, events)) = answer {
                    *cursor = Some(progress.cursor);
                    any_more |= progress.more;
                    chunk.push_str(&events);
                }
            }
            watcher.send(chunk).await?;
            if !any_more {
                watcher.pause(LOOK_PERIOD).await?;
            }
        }
    })
}

/// What a shard tells another of its spans.
pub(crate) async fn own_spans<B>(
    app: &App,
    request: &Request<B>,
) -> Result<Response<ResponseBody>, Failure> {
    let parameters = ["life", "after", "task", "artifact"];
    let query = Query::parse(request.uri().query(), &parameters)?;
    let wanted = Wanted {
        task: query.parsed("task")?,
        artifact: query.parsed("artifact")?,
    };
    let (life, next) = (query.parsed("life")?.map(ShardLife), query.parsed("after")?);
    let after = life.zip(next).map(|(life, next)| Cursor { life, next });
    let (progress, events) = spans_since(app, &wanted, after).await;
    // Numbers and a flag always serialise.
    let mut text = serde_json::to_string(&progress).expect("a plain document serialises");
    text.push('\n');
    text.push_str(&events);
    Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", text))
}

/// The events of this shard's spans from the cursor on. A few at a time: tasks run in between.
async fn spans_since(app: &App, wanted: &Wanted, after: Option<Cursor>) -> (Progress, String) {
    let (shard, life) = (app.shard.number(), app.shard.life());
    let recent = app.shard.recent();
    let cursor = after.unwrap_or_else(|| Cursor::first(wanted, life, recent));
    let (mut from, mut spans_left) = (cursor.number(life), SPANS_MAX);
    let mut events = String::new();
    loop {
        let spans_max = spans_left.min(SPANS_PER_SLICE_MAX);
        let Passed { items, lost, next } = recent.since(from, spans_max, |record| {
            wanted.has(record).then(|| span_json(record, shard))
        });
        if lost > 0 {
            let lost = format!("{{\"shard\":{shard},\"spans\":{lost}}}");
            push_event(&mut events, "lost", &lost);
        }
        for span in &items {
            push_event(&mut events, "span", span);
        }
        from = next;
        spans_left -= items.len();
        let more = next < recent.next();
        if !more || spans_left == 0 {
            let cursor = Cursor { life, next };
            return (Progress { cursor, more }, events);
        }
        rt::yield_now().await;
    }
}

/// As [`spans_since`], of another shard. `None` when it does not answer: it is being restarted.
async fn other_spans(
    app: &App,
    shard: ShardNumber,
    wanted: &Wanted,
    after: Option<Cursor>,
) -> Option<(Progress, String)> {
    let query = wanted.query(after);
    let answer = app.peers.ask(shard, Internal::Traces, &query).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%error, "spans lack a shard"));
    let text = String::from_utf8(answer.ok()?.into()).ok()?;
    let (progress, events) = text.split_once('\n')?;
    Some((serde_json::from_str(progress).ok()?, events.to_owned()))
}

/// One shard's metrics at one moment.
#[derive(Serialize)]
struct Metrics {
    shard: ShardNumber,
    unix_ms: u64,
    #[serde(flatten)]
    snapshot: Snapshot,
}

/// `GET /v0/metrics`: the metrics of every shard, or of one, at once and then at each interval.
pub(crate) fn metrics<B>(
    app: &Rc<App>,
    request: &Request<B>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["interval", "shard"])?;
    let interval = query.duration("interval")?.unwrap_or(INTERVAL);
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        let detail = "query parameter 'interval' must be from 100ms to 60s";
        return Err(Failure::invalid(detail));
    }
    let only = query.parsed::<u16>("shard")?.map(ShardNumber);
    if let Some(shard) = only.filter(|shard| !app.peers.has(*shard)) {
        let shards = app.peers.count();
        let detail = format!("there is no shard {shard}; the node has {shards}, from 0 on");
        return Err(Failure::invalid(detail));
    }
    watch(app, async move |app, watcher| {
        let own = app.shard.number();
        let mut shards: Vec<ShardNumber> = app.peers.others().chain([own]).collect();
        shards.retain(|shard| only.is_none_or(|only| only == *shard));
        shards.sort_unstable();
        let mut due = Instant::now();
        loop {
            let mut chunk = String::new();
            for shard in &shards {
                let snapshot = match *shard == own {
                    true => Some(app.shard.metrics()),
                    false => other_metrics(app, *shard).await,
                };
                push_metrics(&mut chunk, *shard, snapshot);
            }
            watcher.send(chunk).await?;
            // The time that asking took is not added to the interval, unless it is longer.
            due = (due + interval).max(Instant::now());
            watcher.pause(due - Instant::now()).await?;
        }
    })
}

async fn other_metrics(app: &App, shard: ShardNumber) -> Option<Snapshot> {
    let answer = app.peers.ask(shard, Internal::Metrics, "").await;
    let answer = answer.inspect_err(|error| tracing::debug!(%error, "metrics lack a shard"));
    serde_json::from_slice(&answer.ok()?).ok()
}

fn push_metrics(events: &mut String, shard: ShardNumber, snapshot: Option<Snapshot>) {
    let Some(snapshot) = snapshot else {
        return push_event(events, "missing", &format!("{{\"shard\":{shard}}}"));
    };
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let metrics = Metrics {
        shard,
        unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        snapshot,
    };
    let metrics = serde_json::to_string(&metrics).expect("a plain document serialises");
    push_event(events, "metrics", &metrics);
}

/// `data` is JSON and so of one line.
fn push_event(events: &mut String, name: &str, data: &str) {
    write!(events, "event: {name}\ndata: {data}\n\n").expect("writing to a string does not fail");
}

/// The end of a stream at which its client reads.
struct Watcher {
    sender: mpsc::Sender<Bytes>,
    sent: Instant,
    _permit: OwnedSemaphorePermit,
}

/// The client has gone, or the node stops: the stream ends.
struct Over;

/// Answers with a stream that `feed` feeds until it is over.
fn watch(
    app: &Rc<App>,
    feed: impl AsyncFnOnce(&App, &mut Watcher) -> Result<std::convert::Infallible, Over> + 'static,
) -> Result<Response<ResponseBody>, Failure> {
    let permit = Arc::clone(&app.watchers).try_acquire_owned().map_err(|_| {
        let bound = app.limits.watchers_max;
        Failure::new(
            Code::Overloaded,
            format!("the shard has {bound} streams open, its bound (limits.http.watchers_max)"),
        )
    })?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let app = Rc::clone(app);
    rt::spawn(async move {
        let mut watcher = Watcher {
            sender,
            sent: Instant::now(),
            _permit: permit,
        };
        let draining = async {
            while !app.shard.is_draining() {
                rt::sleep(LOOK_PERIOD).await;
            }
        };
        let feeding = async {
            let Err(Over) = feed(&app, &mut watcher).await;
        };
        futures_lite::future::or(draining, feeding).await;
    });
    let mut response = Response::new(ResponseBody::Events(receiver));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Watcher {
    /// Sends a chunk, when the client has read those before. An empty one is sent as a sign of life,
    /// once in a while.
    async fn send(&mut self, mut chunk: String) -> Result<(), Over> {
        if chunk.is_empty() {
            if self.sent.elapsed() < KEEP_ALIVE_PERIOD {
                return Ok(());
            }
            chunk.push_str(": keep-alive\n\n");
        }
        self.sent = Instant::now();
        self.sender.send(chunk.into()).await.map_err(|_| Over)
    }

    /// Waits, unless the client goes.
    async fn pause(&self, time: Duration) -> Result<(), Over> {
        match rt::timeout(time, self.sender.closed()).await {
            Ok(()) => Err(Over),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_an_earlier_life_misses_nothing_of_this_one() {
        let (before, now) = (ShardLife(1), ShardLife(2));
        let cursor = |life| Cursor { life, next: 700 };
        assert_eq!(cursor(now).number(now), 700);
        assert_eq!(cursor(before).number(now), 0);
        let wanted = Wanted {
            task: None,
            artifact: None,
        };
        assert_eq!(wanted.query(Some(cursor(now))), "life=2&after=700");
        let first = Cursor::first(&wanted, now, &Recent::new(4));
        assert_eq!((first.life, first.next), (now, 0));
    }
}

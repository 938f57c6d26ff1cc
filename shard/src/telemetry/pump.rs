//! The exporting thread's loop: ring → batch → collector.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;
use vyr_core::metrics::Snapshot;
use vyr_core::trace::Reader;

use super::config::ExporterConfig;
use super::events::{EventBatch, EventReceiver};
use super::exporter::ExportCounts;
use super::metrics_message::{Period, metrics_message};
use super::resource::Resource;
use super::spans::{SpanBatch, Spans};
use super::transport::{Signal, Transport, Verdict};
use crate::clock;

/// Shortest and longest pause between two looks into the ring. The longest lets a full ring of the
/// default size absorb 300,000 records per second; looking finds less to do after that.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// Shortest time between two warnings.
const WARNING_PAUSE: Duration = Duration::from_secs(30);

/// Moves records from the ring towards the collector.
pub(super) struct Pump {
    config: ExporterConfig,
    reader: Reader,
    counts: Arc<ExportCounts>,
    metrics: MetricsSlot,
    events: EventReceiver,
    /// When events of guests were sent last, or had nothing to send.
    events_sent: Instant,
    /// The batch that is being made.
    spans: Spans,
    /// When its oldest record came into it.
    oldest: Instant,
    /// Batches that wait behind the one that is on its way.
    ready: VecDeque<SpanBatch>,
    look: Duration,
    warned: Option<Instant>,
    /// Whether the last batch was not accepted.
    failing: bool,
}

/// Where what is sent comes from.
pub(super) struct Sources {
    pub(super) reader: Reader,
    pub(super) metrics: MetricsSlot,
    pub(super) events: EventReceiver,
}

/// What requests are sent with.
pub(super) struct Sender {
    pub(super) transport: Transport,
    pub(super) resource: Resource,
    pub(super) start_unix_ns: u64,
}

impl Sender {
    fn metrics(&self, snapshot: &Snapshot) -> Bytes {
        let period = Period {
            start_unix_ns: self.start_unix_ns,
            end_unix_ns: clock::unix_ns(),
        };
        let message = metrics_message(snapshot, &self.resource, period);
        message.encode_to_vec().into()
    }
}

/// The last metrics that the shard has offered, until they are sent.
#[derive(Clone, Default)]
pub(super) struct MetricsSlot(Arc<Mutex<Option<Snapshot>>>);

impl MetricsSlot {
    pub(super) fn put(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    fn take(&self) -> Option<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for MetricsSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MetricsSlot").finish()
    }
}

/// When to end: set once, by the shard.
type Stop = watch::Receiver<Option<Instant>>;

impl Pump {
    pub(super) fn new(
        config: ExporterConfig,
        sources: Sources,
        resource: &Resource,
        counts: Arc<ExportCounts>,
    ) -> Self {
        Self {
            spans: Spans::new(resource),
            config,
            reader: sources.reader,
            counts,
            metrics: sources.metrics,
            events: sources.events,
            events_sent: Instant::now(),
            oldest: Instant::now(),
            ready: VecDeque::new(),
            look: LOOK_MAX,
            warned: None,
            failing: false,
        }
    }

    /// Runs until the shard says stop and all is sent, or its deadline has passed, or its handle is
    /// gone.
    pub(super) async fn run(mut self, sender: &Sender, mut stop: Stop) {
        loop {
            let stopping = is_stopping(&stop);
            self.fill();
            self.send_metrics(sender, &mut stop).await;
            if self.events_are_due(stopping) && !self.send_events(sender, &mut stop).await {
                break;
            }
            if self.is_due(stopping) {
                if !self.send(sender, &mut stop).await {
                    break;
                }
            } else if stopping {
                if self.events.waiting() == 0 {
                    break;
                }
            } else {
                tokio::select! {
                    () = tokio::time::sleep(self.look) => {}
                    _ = stop.changed() => {}
                }
            }
        }
        self.drop_rest();
    }

    /// Encodes what the ring has, as far as there is room.
    fn fill(&mut self) {
        let room = self.config.queue_records_max - self.waiting();
        let size = self.batch_size();
        let Self {
            reader,
            spans,
            ready,
            oldest,
            ..
        } = self;
        let taken = reader.drain(room, |record| {
            if spans.count() == 0 {
                *oldest = Instant::now();
            }
            spans.add(record);
            if spans.count() == size {
                ready.push_back(spans.finish());
            }
        });
        let ring = self.reader.records_max();
        if taken > ring / 8 {
            self.look = (self.look / 2).max(LOOK_MIN);
        } else if taken < ring / 64 {
            self.look = (self.look * 2).min(LOOK_MAX);
        }
    }

    /// Records that have left the ring and are not on their way.
    fn waiting(&self) -> usize {
        self.ready.iter().map(|batch| batch.count).sum::<usize>() + self.spans.count()
    }

    fn batch_size(&self) -> usize {
        self.config
            .batch_records_max
            .min(self.config.queue_records_max)
    }

    fn is_due(&self, stopping: bool) -> bool {
        let waits_long = || self.oldest.elapsed() >= self.config.interval;
        !self.ready.is_empty() || self.spans.count() > 0 && (stopping || waits_long())
    }

    /// Sends one batch and goes on emptying the ring meanwhile. Returns whether there is time for
    /// more.
    async fn send(&mut self, sender: &Sender, stop: &mut Stop) -> bool {
        let batch = self.ready.pop_front();
        let batch = batch.unwrap_or_else(|| self.spans.finish());
        let sending = sender.transport.send(Signal::Traces, batch.request());
        let verdict = self.go_on_until(sending, stop).await;
        let size = batch.count;
        let Some(verdict) = verdict else {
            self.count(size, size);
            return false;
        };
        let dropped = verdict.dropped_of(size);
        self.count(size, dropped);
        self.tell(dropped, &verdict.why);
        self.spans.recycle(batch);
        true
    }

    /// Empties the ring while a request is on its way. `None` when the time to send is over.
    async fn go_on_until(
        &mut self,
        sending: impl Future<Output = Verdict>,
        stop: &mut Stop,
    ) -> Option<Verdict> {
        let mut sending = std::pin::pin!(sending);
        loop {
            tokio::select! {
                verdict = &mut sending => return Some(verdict),
                () = tokio::time::sleep(self.look) => self.fill(),
                () = deadline(stop) => return None,
            }
        }
    }

    /// Sends the shard's metrics if it has offered some since the last time. What fails is not kept:
    /// the next ones have all that was counted.
    async fn send_metrics(&mut self, sender: &Sender, stop: &mut Stop) {
        let Some(snapshot) = self.metrics.take() else {
            return;
        };
        let request = sender.metrics(&snapshot);
        let sending = sender.transport.send(Signal::Metrics, request);
        let Some(verdict) = self.go_on_until(sending, stop).await else {
            return;
        };
        if !verdict.accepted {
            self.tell(1, &verdict.why);
        }
    }

    fn events_are_due(&mut self, stopping: bool) -> bool {
        if self.events.waiting() == 0 {
            self.events_sent = Instant::now();
            return false;
        }
        stopping || self.events.is_full() || self.events_sent.elapsed() >= self.config.interval
    }

    /// Sends guests' own spans and logs, of each a batch. Returns whether there is time for more.
    async fn send_events(&mut self, sender: &Sender, stop: &mut Stop) -> bool {
        let mut in_time = true;
        for batch in self.events.take() {
            in_time = in_time && self.send_event_batch(sender, &batch, stop).await;
            if !in_time {
                self.events.count(&batch, batch.events);
            }
        }
        self.events_sent = Instant::now();
        in_time
    }

    /// Returns whether the batch was sent or given up in time, and counted.
    async fn send_event_batch(
        &mut self,
        sender: &Sender,
        batch: &EventBatch,
        stop: &mut Stop,
    ) -> bool {
        let request = self.spans.request_of(&batch.scopes);
        let sending = sender.transport.send(batch.kind.signal(), request);
        let Some(verdict) = self.go_on_until(sending, stop).await else {
            return false;
        };
        let dropped = verdict.dropped_of(batch.events);
        self.events.count(batch, dropped);
        self.tell(dropped, &verdict.why);
        true
    }

    fn count(&self, size: usize, dropped: usize) {
        self.counts
            .dropped
            .fetch_add(dropped as u64, Ordering::Release);
        self.counts
            .exported
            .fetch_add((size - dropped) as u64, Ordering::Release);
    }

    /// Logs the first failure, then one line in a while, and the recovery.
    fn tell(&mut self, dropped: usize, why: &str) {
        let endpoint = &self.config.endpoint;
        if dropped == 0 {
            if std::mem::take(&mut self.failing) {
                tracing::info!(endpoint, "traces are exported again");
            }
            return;
        }
        self.failing = true;
        if self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARNING_PAUSE)
        {
            self.warned = Some(Instant::now());
            let dropped_so_far = self.counts.dropped.load(Ordering::Relaxed);
            tracing::warn!(
                endpoint,
                why,
                dropped_so_far,
                "traces are not exported; tasks go on"
            );
        }
    }

    /// Counts what cannot be sent any more.
    fn drop_rest(&mut self) {
        let in_ring = self.reader.drain(usize::MAX, |_| {});
        let mut rest = (self.waiting() + in_ring) as u64;
        self.counts.dropped.fetch_add(rest, Ordering::Release);
        rest += self.events.drop_rest() as u64;
        if rest > 0 {
            tracing::warn!(
                endpoint = self.config.endpoint,
                dropped = rest,
                "traces were not exported in time"
            );
        }
    }
}

/// Whether the shard said stop, or let go of its handle.
fn is_stopping(stop: &Stop) -> bool {
    stop.borrow().is_some() || stop.has_changed().is_err()
}

/// Ends when the time to send is over: at the deadline of the stop, or with the handle.
async fn deadline(stop: &mut Stop) {
    loop {
        let end = *stop.borrow_and_update();
        match end {
            Some(end) => return tokio::time::sleep_until(end).await,
            None if stop.changed().await.is_err() => return,
            None => {}
        }
    }
}

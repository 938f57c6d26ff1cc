//! The exporting thread's loop: ring → batch → collector.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vyr_core::trace::Reader;

use super::config::ExporterConfig;
use super::events::{EventBatch, EventReceiver};
use super::export_state::ExportState;
use super::exporter::ExportCounts;
use super::resource::Resource;
use super::spans::{SpanBatch, Spans};
use super::transport::{Signal, Transport, Verdict};

/// Shortest and longest pause between two looks into the ring. The longest lets a full ring of the
/// default size absorb 300,000 records per second; looking finds less to do after that.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// Moves records from the ring towards the collector.
pub(super) struct Pump {
    config: ExporterConfig,
    reader: Reader,
    counts: Arc<ExportCounts>,
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
    traces: ExportState,
    logs: ExportState,
}

/// Where what is sent comes from.
pub(super) struct Sources {
    pub(super) reader: Reader,
    pub(super) events: EventReceiver,
}

/// What requests are sent with.
pub(super) struct Sender {
    pub(super) transport: Transport,
    pub(super) resource: Resource,
    pub(super) start_unix_ns: u64,
}

/// When to end: set once, by the shard.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

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
            events: sources.events,
            events_sent: Instant::now(),
            oldest: Instant::now(),
            ready: VecDeque::new(),
            look: LOOK_MAX,
            traces: ExportState::new("traces"),
            logs: ExportState::new("guests' logs"),
        }
    }

    /// Runs until the shard says stop and all is sent, or its deadline has passed, or its handle is
    /// gone.
    pub(super) async fn run(mut self, sender: &Sender, mut stop: Stop) {
        loop {
            let stopping = is_stopping(&stop);
            self.fill();
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
        self.tell(Signal::Traces, dropped, &verdict.why);
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
        self.tell(batch.kind.signal(), dropped, &verdict.why);
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

    fn tell(&mut self, signal: Signal, dropped: usize, why: &str) {
        let endpoint = &self.config.endpoint;
        let records_dropped = || self.counts.dropped.load(Ordering::Relaxed);
        let (state, dropped_so_far) = match signal {
            Signal::Logs => (&mut self.logs, None),
            Signal::Traces | Signal::Metrics => (&mut self.traces, Some(records_dropped())),
        };
        if dropped == 0 {
            state.accepted(endpoint);
        } else {
            state.refused(endpoint, why, dropped_so_far);
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
pub(super) fn is_stopping(stop: &Stop) -> bool {
    stop.borrow().is_some() || stop.has_changed().is_err()
}

/// Ends when the time to send is over: at the deadline of the stop, or with the handle.
pub(super) async fn deadline(stop: &mut Stop) {
    loop {
        let end = *stop.borrow_and_update();
        match end {
            Some(end) => return tokio::time::sleep_until(end).await,
            None if stop.changed().await.is_err() => return,
            None => {}
        }
    }
}

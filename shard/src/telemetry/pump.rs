//! The exporting thread's loop: ring → queue → batch → collector.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::watch;
use tokio::time::Instant;
use vyr_core::trace::{Reader, Record};

use super::config::ExporterConfig;
use super::exporter::ExportCounts;
use super::spans::Spans;
use super::transport::Verdict;

/// Shortest and longest pause between two looks into the ring. The longest lets a full ring of the
/// default size absorb 300,000 records per second; looking finds less to do after that.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// Shortest time between two warnings.
const WARNING_PAUSE: Duration = Duration::from_secs(30);

/// Moves records from the ring towards the collector.
pub(super) struct Pump {
    config: ExporterConfig,
    address: String,
    reader: Reader,
    counts: Arc<ExportCounts>,
    queue: VecDeque<Record>,
    /// When the oldest record of the queue came into it.
    oldest: Instant,
    look: Duration,
    warned: Option<Instant>,
    /// Whether the last batch was not accepted.
    failing: bool,
}

/// Sends batches.
pub(super) struct Sender {
    pub(super) sender: SpanExporter,
    pub(super) spans: Spans,
    pub(super) verdict: Arc<Mutex<Verdict>>,
}

/// When to end: set once, by the shard.
type Stop = watch::Receiver<Option<Instant>>;

impl Pump {
    pub(super) fn new(
        config: ExporterConfig,
        address: String,
        reader: Reader,
        counts: Arc<ExportCounts>,
    ) -> Self {
        Self {
            config,
            address,
            reader,
            counts,
            queue: VecDeque::new(),
            oldest: Instant::now(),
            look: LOOK_MAX,
            warned: None,
            failing: false,
        }
    }

    /// Runs until the shard says stop and all is sent, or its deadline has passed, or its handle is
    /// gone.
    pub(super) async fn run(mut self, mut sender: Sender, mut stop: Stop) {
        loop {
            let stopping = is_stopping(&stop);
            self.fill();
            if self.is_due(stopping) {
                if !self.send(&mut sender, &mut stop).await {
                    break;
                }
            } else if stopping {
                break;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(self.look) => {}
                    _ = stop.changed() => {}
                }
            }
        }
        self.drop_rest();
    }

    /// Moves what the ring has into the queue, as far as there is room.
    fn fill(&mut self) {
        let (mut taken, mut unsampled) = (0usize, 0u64);
        while self.queue.len() < self.config.queue_records_max {
            let Some(record) = self.reader.read() else {
                break;
            };
            taken += 1;
            if !record.sampled {
                unsampled += 1;
                continue;
            }
            if self.queue.is_empty() {
                self.oldest = Instant::now();
            }
            self.queue.push_back(record);
        }
        self.counts
            .unsampled
            .fetch_add(unsampled, Ordering::Release);
        let ring = self.reader.records_max();
        if taken > ring / 8 {
            self.look = (self.look / 2).max(LOOK_MIN);
        } else if taken < ring / 64 {
            self.look = (self.look * 2).min(LOOK_MAX);
        }
    }

    fn is_due(&self, stopping: bool) -> bool {
        let waits_long = || self.oldest.elapsed() >= self.config.interval;
        let full = self
            .config
            .batch_records_max
            .min(self.config.queue_records_max);
        self.queue.len() >= full || !self.queue.is_empty() && (stopping || waits_long())
    }

    /// Sends one batch and goes on emptying the ring meanwhile. Returns whether there is time for
    /// more.
    async fn send(&mut self, sender: &mut Sender, stop: &mut Stop) -> bool {
        let size = self.queue.len().min(self.config.batch_records_max);
        let batch = self
            .queue
            .drain(..size)
            .map(|record| sender.spans.span(&record))
            .collect();
        // What is left came after the batch, so its wait is counted from now at the earliest.
        self.oldest = Instant::now();
        let mut request = std::pin::pin!(sender.sender.export(batch));
        let accepted = loop {
            tokio::select! {
                outcome = &mut request => break outcome.is_ok(),
                () = tokio::time::sleep(self.look) => self.fill(),
                () = deadline(stop) => {
                    self.count(size, size);
                    return false;
                }
            }
        };
        let verdict = {
            let mut last = sender
                .verdict
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *last)
        };
        let rejected = usize::try_from(verdict.rejected).unwrap_or(size).min(size);
        let dropped = if accepted { rejected } else { size };
        self.count(size, dropped);
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
        let endpoint = &self.address;
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
        let mut rest = self.queue.len() as u64;
        self.queue.clear();
        while let Some(record) = self.reader.read() {
            if record.sampled {
                rest += 1;
            } else {
                self.counts.unsampled.fetch_add(1, Ordering::Release);
            }
        }
        self.counts.dropped.fetch_add(rest, Ordering::Release);
        if rest > 0 {
            tracing::warn!(
                endpoint = self.address,
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

//! The shard's side of the exporter: start, counts, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vyr_core::metrics::Snapshot;
use vyr_core::trace::{Reader, RingCounts};

use super::config::{ExporterConfig, ExporterError};
use super::events::{self, EventSender};
use super::metrics_pump::{MetricsPump, MetricsSlot};
use super::pump::{Pump, Sender, Sources};
use super::resource::resource;
use super::transport::Transport;
use crate::clock;

/// Starts exporting threads.
///
/// The resource of the spans has `service.name` (`vyr`), `service.version`, `service.instance.id`, `host.name`,
/// `process.pid` and `vyr.shard`. The variables `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and
/// `OTEL_EXPORTER_OTLP_HEADERS` of the OpenTelemetry specification are honoured.
#[derive(Debug)]
pub struct Exporter;

impl Exporter {
    /// Starts the thread that exports what `reader` reads. The collector need not be there yet.
    ///
    /// # Errors
    /// When the endpoint or another value cannot be used, or no thread can be started.
    pub fn start(config: ExporterConfig, reader: Reader) -> Result<ExporterHandle, ExporterError> {
        let counts = Arc::new(ExportCounts::default());
        let ring = reader.counts();
        let (stop, stopped) = watch::channel(None);
        let (end, ended) = mpsc::channel();
        let runtime = super::thread::runtime().map_err(ExporterError::Thread)?;
        let transport = {
            let _inside = runtime.enter();
            Transport::new(&config)?
        };
        let resource = resource(&config);
        let sender = Sender {
            transport,
            resource,
            start_unix_ns: clock::unix_ns(),
        };
        let metrics = MetricsSlot::default();
        let cpus = config.cpus.clone();
        let name = format!("vyr-otlp-{}", config.shard);
        let (events, received) = events::channel();
        let sources = Sources {
            reader,
            events: received,
        };
        let metrics_pump = MetricsPump::new(config.endpoint.clone(), metrics.clone());
        let pump = Pump::new(config, sources, &sender.resource, Arc::clone(&counts));
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                super::thread::step_back(&cpus);
                runtime.block_on(async {
                    let metrics = metrics_pump.run(&sender, stopped.clone());
                    tokio::join!(pump.run(&sender, stopped), metrics);
                });
                // The runtime goes first, so that nothing runs on when the end is told.
                runtime.shutdown_background();
                drop(end);
            })
            .map_err(ExporterError::Thread)?;
        Ok(ExporterHandle {
            ring,
            counts,
            metrics,
            events,
            stop,
            ended,
            thread,
        })
    }
}

/// What the exporter counted, changed by its thread only.
#[derive(Debug, Default)]
pub(super) struct ExportCounts {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Records by what became of them. At rest (nothing in the ring, the queue or a request), those
/// made are the sum of all three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportTotals {
    /// Acknowledged by the collector.
    pub exported: u64,
    /// Dropped because the ring was full.
    pub dropped_ring: u64,
    /// Dropped after the ring: the collector refused them or was not there, or the exporter had to
    /// stop.
    pub dropped_export: u64,
}

/// A running exporter. Dropping it ends the thread without a last attempt to send.
#[derive(Debug)]
pub struct ExporterHandle {
    ring: RingCounts,
    counts: Arc<ExportCounts>,
    metrics: MetricsSlot,
    events: Arc<EventSender>,
    stop: watch::Sender<Option<Instant>>,
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl ExporterHandle {
    /// What became of the records so far.
    #[must_use]
    pub fn totals(&self) -> ExportTotals {
        ExportTotals {
            exported: self.counts.exported.load(Ordering::Acquire),
            dropped_ring: self.ring.dropped(),
            dropped_export: self.counts.dropped.load(Ordering::Acquire),
        }
    }

    /// Where guests' own spans and logs go.
    pub(crate) fn events(&self) -> &Arc<EventSender> {
        &self.events
    }

    /// Gives the thread metrics to send, in place of those that it has not sent yet.
    pub fn offer_metrics(&self, snapshot: Snapshot) {
        self.metrics.put(snapshot);
    }

    /// Tells the thread to send what there is and to end, at the latest after `deadline`; what was
    /// not sent by then is dropped and counted. Returns at once; no record may be written after it.
    pub fn stop(&self, deadline: Duration) {
        // The thread has ended already when nobody listens.
        let _ = self.stop.send(Some(Instant::now() + deadline));
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.thread.is_finished()
    }

    /// [`ExporterHandle::stop`], and waits for the end: blocks the calling thread for `deadline` and
    /// a little more at the longest. An executor uses [`ExporterHandle::stop`] and looks at
    /// [`ExporterHandle::is_stopped`] instead.
    #[must_use]
    pub fn flush_and_stop(self, deadline: Duration) -> ExportTotals {
        self.stop(deadline);
        // Nothing is ever sent: the wait ends when the thread drops its end, or with the time.
        let _ = self.ended.recv_timeout(deadline.saturating_add(GRACE));
        self.totals()
    }
}

/// Time for the thread to notice that its deadline has passed.
const GRACE: Duration = Duration::from_secs(1);

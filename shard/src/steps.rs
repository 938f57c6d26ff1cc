//! What a task's steps tell: one record each, written where the step ends.

use std::time::Duration;

use vyr_core::id::ShardNumber;
use vyr_core::limits::ShardLimits;
use vyr_core::problem::Code;
use vyr_core::trace::{Record, Ring, Step, TraceContext, TraceIdSource, Writer};

use crate::clock;
use crate::error::Error;
use crate::rt;
use crate::task::Task;
use crate::telemetry::{ExportTotals, Exporter, ExporterConfig, ExporterHandle};

/// Writes the records of a shard's tasks, and owns the exporter that reads them.
pub(crate) struct Steps {
    ids: TraceIdSource,
    writer: Writer,
    /// Unix time when the monotonic clock stood at zero, nanoseconds.
    unix_offset_ns: u64,
    exporter: Option<ExporterHandle>,
}

/// Longest time that spans still waiting at the end get to reach the collector.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);

impl Steps {
    /// Without an endpoint nothing is written.
    pub(crate) fn start(
        shard: ShardNumber,
        limits: &ShardLimits,
        otlp_endpoint: Option<&str>,
        seed: u64,
    ) -> Result<Self, Error> {
        let (writer, exporter) = match otlp_endpoint {
            None => (Writer::disabled(), None),
            Some(endpoint) => {
                let (writer, reader) = Ring::new(limits.trace_records_max);
                let mut config = ExporterConfig::new(endpoint, shard);
                config.cpus = crate::cpu::allowed();
                let exporter =
                    Exporter::start(config, reader).map_err(|error| Error::Telemetry {
                        reason: error.to_string(),
                    })?;
                (writer, Some(exporter))
            }
        };
        Ok(Self {
            ids: TraceIdSource::with_seed(seed),
            writer,
            unix_offset_ns: clock::unix_ns() - clock::monotonic_ns(),
            exporter,
        })
    }

    /// The trace of a new task.
    pub(crate) fn trace(&self, traceparent: Option<&str>) -> TraceContext {
        self.ids.context(traceparent)
    }

    pub(crate) fn submitted(&self, task: &Task) {
        self.child(task, Step::Submit, task.received_ns, task.accepted_ns, None);
    }

    pub(crate) fn queued(&self, task: &Task) {
        self.child(
            task,
            Step::Queue,
            task.accepted_ns,
            task.started_ns.get(),
            None,
        );
    }

    pub(crate) fn instantiated(&self, task: &Task, started_ns: u64, ended_ns: u64) {
        self.child(task, Step::Instantiate, started_ns, ended_ns, None);
    }

    pub(crate) fn executed(&self, task: &Task, started_ns: u64, ended_ns: u64) {
        self.child(task, Step::Execute, started_ns, ended_ns, None);
    }

    /// The task has ended, at `ended_ns`; writes its last step and the whole.
    pub(crate) fn completed(&self, task: &Task, ended_ns: u64) {
        if !self.writer.is_enabled() || !task.trace.sampled {
            return;
        }
        let code = task.error().map(|error| error.code);
        let now_ns = clock::monotonic_ns();
        self.child(task, Step::Complete, ended_ns, now_ns, code);
        self.write(task, Step::Task, task.received_ns, now_ns, code);
    }

    /// Sends what is left to the collector and ends the exporter.
    pub(crate) async fn stop(&self) {
        let Some(exporter) = &self.exporter else {
            return;
        };
        exporter.stop(FLUSH_TIME_MAX);
        while !exporter.is_stopped() {
            rt::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What became of the records so far.
    pub(crate) fn totals(&self) -> ExportTotals {
        self.exporter
            .as_ref()
            .map(ExporterHandle::totals)
            .unwrap_or_default()
    }

    fn child(&self, task: &Task, step: Step, started_ns: u64, ended_ns: u64, code: Option<Code>) {
        if self.writer.is_enabled() && task.trace.sampled {
            self.write(task, step, started_ns, ended_ns, code);
        }
    }

    fn write(&self, task: &Task, step: Step, started_ns: u64, ended_ns: u64, code: Option<Code>) {
        let (span_id, parent) = match step {
            Step::Task => (task.trace.span_id, task.trace.parent),
            _ => (self.ids.span_id(), Some(task.trace.span_id)),
        };
        self.writer.write(Record {
            task: task.id,
            artifact: task.artifact,
            trace_id: task.trace.trace_id,
            span_id,
            parent,
            start_unix_ns: self.unix_offset_ns + started_ns,
            duration_ns: ended_ns.saturating_sub(started_ns),
            step,
            kind: task.kind,
            status: task.status(),
            code,
            sampled: task.trace.sampled,
        });
    }
}

//! What a task's steps tell: one record each, written where the step ends.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use vyr_core::digest::Digest;
use vyr_core::id::{ShardNumber, TaskId};
use vyr_core::limits::ShardLimits;
use vyr_core::metrics::Snapshot;
use vyr_core::problem::Code;
use vyr_core::state::Binding;
use vyr_core::task::{Kind, Status};
use vyr_core::trace::{
    Detail, Exchange, Recent, Record, Ring, ShortText, SpanId, Step, TraceContext, TraceIdSource,
    Writer,
};

use crate::clock;
use crate::error::Error;
use crate::rt;
use crate::task::Task;
use crate::telemetry::{
    EventSender, EventTotals, ExportTotals, Exporter, ExporterConfig, ExporterHandle,
    TelemetryConfig,
};

/// Writes the records of a shard's tasks, and owns the exporter that reads them.
pub(crate) struct Steps {
    ids: TraceIdSource,
    writer: Writer,
    recent: Recent,
    /// Unix time when the monotonic clock stood at zero, nanoseconds.
    unix_offset_ns: Cell<u64>,
    exporter: Option<ExporterHandle>,
    guest_logs: bool,
}

/// A request for a new task, as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The task's trace: the client's own if it sent one.
    pub(crate) trace: TraceContext,
    /// When, monotonic.
    pub(crate) received_ns: u64,
}

impl Arrival {
    /// The task's trace.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }
}

/// Whose step it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) task: TaskId,
    pub(crate) artifact: Option<Digest>,
    pub(crate) kind: Kind,
    pub(crate) trace: TraceContext,
    /// Whether the artifact had to be loaded first.
    pub(crate) cold: bool,
}

/// A span of a guest's own, for watchers.
pub(crate) struct GuestSpan<'a> {
    pub(crate) id: SpanId,
    pub(crate) parent: SpanId,
    pub(crate) name: &'a str,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
}

/// That a state was bound, or was not.
pub(crate) struct Bind<'a> {
    pub(crate) binding: &'a Binding,
    pub(crate) started_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) code: Option<Code>,
}

/// A request on its way to the shard that runs its task.
#[derive(Debug)]
pub struct Hop {
    trace: TraceContext,
    kind: Kind,
    started_ns: u64,
}

impl Hop {
    /// The trace to send on: the hop is the task's parent.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }
}

/// When a step began and ended, monotonic.
#[derive(Debug, Clone, Copy)]
struct Span {
    step: Step,
    id: SpanId,
    parent: Option<SpanId>,
    started_ns: u64,
    ended_ns: u64,
}

/// Longest time that spans still waiting at the end get to reach the collector.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);
/// How far spans may be from the wall clock, nanoseconds.
const CLOCK_OFF_NS_MAX: u64 = 1_000_000;

impl Steps {
    /// Without an endpoint nothing is exported.
    pub(crate) fn start(
        shard: ShardNumber,
        limits: &ShardLimits,
        otlp_endpoint: Option<&str>,
        telemetry: TelemetryConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        let (writer, exporter) = match otlp_endpoint {
            None => (Writer::disabled(), None),
            Some(endpoint) => {
                let (writer, reader) = Ring::new(limits.trace_records_max);
                let mut config = ExporterConfig::new(endpoint, shard);
                config.protocol = telemetry.otlp_protocol;
                config.cpus = crate::cpu::allowed();
                let exporter =
                    Exporter::start(config, reader).map_err(|error| Error::Telemetry {
                        reason: error.to_string(),
                    })?;
                (writer, Some(exporter))
            }
        };
        Ok(Self {
            ids: TraceIdSource::with_seed(seed).sampling(telemetry.sample_ratio),
            writer,
            recent: Recent::new(limits.recent_records_max),
            unix_offset_ns: Cell::new(
                clock::unix_offset_ns()
                    .unwrap_or_else(|| clock::unix_ns().wrapping_sub(clock::monotonic_ns())),
            ),
            exporter,
            guest_logs: telemetry.guest_logs,
        })
    }

    /// To be called once a second: after the wall clock was set, or the machine has slept, spans are at the new
    /// time. The monotonic clock knows of neither.
    pub(crate) fn follow_clock(&self) {
        if let Some(offset_ns) = clock::unix_offset_ns() {
            self.follow(offset_ns);
        }
    }

    /// What is within the error of measurement is no change: the steps of a task must fit each other.
    fn follow(&self, offset_ns: u64) {
        let off_ns = offset_ns
            .wrapping_sub(self.unix_offset_ns.get())
            .cast_signed();
        if off_ns.unsigned_abs() > CLOCK_OFF_NS_MAX {
            self.unix_offset_ns.set(offset_ns);
        }
    }

    /// Unix time at a monotonic time, nanoseconds. The clock need not be read again for it, and it is the time that
    /// the spans tell.
    pub(crate) fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        self.unix_offset_ns.get().wrapping_add(monotonic_ns)
    }

    /// The trace of a new task.
    pub(crate) fn trace(&self, traceparent: Option<&str>) -> TraceContext {
        self.ids.context(traceparent)
    }

    /// A request for a new task has come in.
    pub(crate) fn arrival(&self, traceparent: Option<&str>) -> Arrival {
        Arrival {
            trace: self.trace(traceparent),
            received_ns: clock::monotonic_ns(),
        }
    }

    /// The last records, for watchers.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// A request leaves for the shard that is to run its task.
    pub(crate) fn hop(&self, traceparent: Option<&str>, kind: Kind) -> Hop {
        Hop {
            trace: self.ids.context(traceparent),
            kind,
            started_ns: clock::monotonic_ns(),
        }
    }

    /// The answer is back and names its task.
    pub(crate) fn forwarded(&self, hop: &Hop, task: TaskId) {
        let span = Span {
            step: Step::Forward,
            id: hop.trace.span_id,
            parent: hop.trace.parent,
            started_ns: hop.started_ns,
            ended_ns: clock::monotonic_ns(),
        };
        let subject = Subject {
            task,
            artifact: None,
            kind: hop.kind,
            trace: hop.trace,
            cold: false,
        };
        self.write(&subject, span, Status::Queued, None, Detail::None);
    }

    /// States were bound, or were not. To be told once the task exists: without it, nobody would write the root.
    pub(crate) fn bound(&self, task: &Task, binds: &[Bind<'_>]) {
        for bind in binds {
            let detail = Detail::Bind {
                state: bind.binding.state,
                name: ShortText::new(&bind.binding.name),
            };
            let subject = task.subject();
            let span = self.child(&subject, Step::Bind, bind.started_ns, bind.ended_ns);
            self.write(&subject, span, Status::Queued, bind.code, detail);
        }
    }

    pub(crate) fn submitted(&self, task: &Task) {
        self.step(task, Step::Submit, task.received_ns, task.accepted_ns, None);
    }

    /// The task left the queue; `code` says why when it was not for its turn.
    pub(crate) fn queued(&self, task: &Task, ended_ns: u64, code: Option<Code>) {
        self.step(task, Step::Queue, task.accepted_ns, ended_ns, code);
    }

    /// The task has its instance; `code` says why when it has none.
    pub(crate) fn instantiated(
        &self,
        task: &Task,
        started_ns: u64,
        ended_ns: u64,
        code: Option<Code>,
    ) {
        self.step(task, Step::Instantiate, started_ns, ended_ns, code);
    }

    /// The guest has ended; `code` says what was wrong.
    pub(crate) fn executed(&self, task: &Task, started_ns: u64, ended_ns: u64, code: Option<Code>) {
        self.step(task, Step::Execute, started_ns, ended_ns, code);
    }

    /// The span of a guest's call to another host, below `parent`: its trace is to be handed on.
    pub(crate) fn call(&self, subject: &Subject, parent: SpanId) -> TraceContext {
        TraceContext {
            span_id: self.ids.span_id(),
            parent: Some(parent),
            ..subject.trace
        }
    }

    /// A guest's call has its response, or will not get one.
    pub(crate) fn called(
        &self,
        subject: &Subject,
        call: &TraceContext,
        started_ns: u64,
        exchange: Exchange,
    ) {
        let span = Span {
            step: Step::Call,
            id: call.span_id,
            parent: call.parent,
            started_ns,
            ended_ns: clock::monotonic_ns(),
        };
        let detail = Detail::Exchange(exchange);
        self.write(subject, span, Status::Running, None, detail);
    }

    /// An id for a span of a guest that has none.
    pub(crate) fn span_id(&self) -> SpanId {
        self.ids.span_id()
    }

    /// Where guests' own spans and logs go, and whether logs do; `None` without a collector.
    pub(crate) fn events(&self) -> Option<(&Arc<EventSender>, bool)> {
        let exporter = self.exporter.as_ref()?;
        Some((exporter.events(), self.guest_logs))
    }

    /// A guest has ended a span of its own. Watchers see it at once; what the collector gets of it is not of
    /// fixed size and goes another way.
    pub(crate) fn guest_span(&self, subject: &Subject, span: &GuestSpan<'_>) {
        self.recent.write(Record {
            task: subject.task,
            artifact: subject.artifact,
            trace_id: subject.trace.trace_id,
            span_id: span.id,
            parent: Some(span.parent),
            start_unix_ns: span.start_unix_ns,
            duration_ns: span.end_unix_ns.saturating_sub(span.start_unix_ns),
            step: Step::Guest,
            kind: subject.kind,
            status: Status::Running,
            code: None,
            sampled: subject.trace.sampled,
            cold: false,
            detail: Detail::Guest {
                name: ShortText::new(span.name),
            },
        });
    }

    /// The task has ended, at `ended_ns`; writes its last step and the whole.
    pub(crate) fn completed(&self, task: &Task, ended_ns: u64) {
        if !self.is_wanted(&task.trace) {
            return;
        }
        let code = task.error_code();
        let now_ns = clock::monotonic_ns();
        self.step(task, Step::Complete, ended_ns, now_ns, code);
        let span = Span {
            step: Step::Task,
            id: task.trace.span_id,
            parent: task.trace.parent,
            started_ns: task.received_ns,
            ended_ns: now_ns,
        };
        let detail = task.exchange.get().map_or(Detail::None, Detail::Exchange);
        self.write(&task.subject(), span, task.status(), code, detail);
    }

    /// Whether the shard's metrics have anywhere to go.
    pub(crate) fn exports(&self) -> bool {
        self.exporter.is_some()
    }

    /// Gives metrics to the exporter.
    pub(crate) fn offer_metrics(&self, metrics: Snapshot) {
        if let Some(exporter) = &self.exporter {
            exporter.offer_metrics(metrics);
        }
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

    /// What became of guests' own spans and logs so far.
    pub(crate) fn event_totals(&self) -> EventTotals {
        let totals = |exporter: &ExporterHandle| exporter.events().totals();
        self.exporter.as_ref().map(totals).unwrap_or_default()
    }

    /// Whether a record of this trace has a reader.
    fn is_wanted(&self, trace: &TraceContext) -> bool {
        self.recent.is_enabled() || self.writer.is_enabled() && trace.sampled
    }

    fn step(&self, task: &Task, step: Step, started_ns: u64, ended_ns: u64, code: Option<Code>) {
        if self.is_wanted(&task.trace) {
            let subject = task.subject();
            let span = self.child(&subject, step, started_ns, ended_ns);
            self.write(&subject, span, task.status(), code, Detail::None);
        }
    }

    /// A span below the task's root.
    fn child(&self, subject: &Subject, step: Step, started_ns: u64, ended_ns: u64) -> Span {
        Span {
            step,
            id: self.ids.span_id(),
            parent: Some(subject.trace.span_id),
            started_ns,
            ended_ns,
        }
    }

    fn write(
        &self,
        subject: &Subject,
        span: Span,
        status: Status,
        code: Option<Code>,
        detail: Detail,
    ) {
        let record = Record {
            task: subject.task,
            artifact: subject.artifact,
            trace_id: subject.trace.trace_id,
            span_id: span.id,
            parent: span.parent,
            start_unix_ns: self.unix_ns(span.started_ns),
            duration_ns: span.ended_ns.saturating_sub(span.started_ns),
            step: span.step,
            kind: subject.kind,
            status,
            code,
            sampled: subject.trace.sampled,
            cold: span.step == Step::Task && subject.cold,
            detail,
        };
        self.recent.write(record);
        if record.sampled {
            self.writer.write(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_follow_a_wall_clock_that_is_set() {
        let telemetry = TelemetryConfig::default();
        let limits = ShardLimits::default();
        let steps = Steps::start(ShardNumber(0), &limits, None, telemetry, 1).expect("it starts");
        let at_start_ns = steps.unix_offset_ns.get();
        let hour_ns = 3_600_000_000_000;
        for (offset_ns, wanted_ns) in [
            (at_start_ns + CLOCK_OFF_NS_MAX, at_start_ns),
            (at_start_ns + hour_ns, at_start_ns + hour_ns),
            (at_start_ns - hour_ns, at_start_ns - hour_ns),
        ] {
            steps.follow(offset_ns);
            assert_eq!(steps.unix_offset_ns.get(), wanted_ns);
        }
        let hop = steps.hop(None, Kind::Http);
        steps.forwarded(&hop, TaskId::from_bits(1 << 32));
        let start = |record: &Record| Some(record.start_unix_ns);
        let start_unix_ns = steps.recent().since(0, 1, start).items[0];
        let off_ns = (clock::unix_ns() - hour_ns).abs_diff(start_unix_ns);
        assert!(off_ns < hour_ns / 2, "{off_ns}");
        until_followed(&steps, at_start_ns);
    }

    /// A reading that was interrupted is passed over.
    fn until_followed(steps: &Steps, wanted_ns: u64) {
        for _ in 0..1000 {
            steps.follow_clock();
            if steps.unix_offset_ns.get().abs_diff(wanted_ns) <= 2 * CLOCK_OFF_NS_MAX {
                return;
            }
        }
        panic!("the wall clock is not followed");
    }
}

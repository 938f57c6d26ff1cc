//! The exporter against collectors that behave, and that do not.

mod collector;
mod events;
mod failures;
mod reference;
mod sink;
mod spans;
mod stopping;

use std::time::{Duration, Instant};

use vyr_core::digest::Digest;
use vyr_core::id::{ShardLife, ShardNumber, TaskIdSource};
use vyr_core::problem::Code;
use vyr_core::task::{Kind, Status};
use vyr_core::trace::{Detail, Record, Step, TraceIdSource, Writer};

use super::{ExportTotals, ExporterConfig, ExporterHandle};

/// Steps of one task, the root among them.
const STEPS: u64 = 6;

/// Makes the records of tasks as a shard does.
struct Tasks {
    tasks: TaskIdSource,
    traces: TraceIdSource,
}

impl Tasks {
    fn new() -> Self {
        let tasks = TaskIdSource::new(ShardNumber(3), ShardLife(0), 17);
        Self {
            tasks,
            traces: TraceIdSource::with_seed(17),
        }
    }

    /// The records of one task: the steps as they end, the root last.
    fn records(
        &mut self,
        kind: Kind,
        code: Option<Code>,
        traceparent: Option<&str>,
    ) -> Vec<Record> {
        let now = std::time::SystemTime::now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is after 1970");
        let start_unix_ns = u64::try_from(since.as_nanos()).expect("the clock is before 2554");
        let trace = self.traces.context(traceparent);
        let root = Record {
            task: self.tasks.next(now),
            artifact: Some(Digest::of(b"artifact")),
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent: trace.parent,
            start_unix_ns,
            duration_ns: 50_000,
            step: Step::Task,
            kind,
            status: if code.is_some() {
                Status::Failed
            } else {
                Status::Succeeded
            },
            code,
            sampled: trace.sampled,
            cold: false,
            detail: Detail::None,
        };
        let steps = [
            Step::Submit,
            Step::Queue,
            Step::Instantiate,
            Step::Execute,
            Step::Complete,
        ];
        let steps = steps.iter().zip(0..).map(|(step, position)| Record {
            span_id: self.traces.span_id(),
            parent: Some(trace.span_id),
            start_unix_ns: start_unix_ns + position * 10_000,
            duration_ns: 10_000,
            step: *step,
            code: code.filter(|_| *step == Step::Execute),
            ..root
        });
        steps.chain([root]).collect()
    }

    /// Writes this many successful HTTP tasks.
    fn write(&mut self, writer: &Writer, tasks: u64) {
        for _ in 0..tasks {
            for record in self.records(Kind::Http, None, None) {
                writer.write(record);
            }
        }
    }
}

/// A configuration that loses no time.
fn quick(endpoint: &str) -> ExporterConfig {
    ExporterConfig {
        interval: Duration::from_millis(5),
        timeout: Duration::from_millis(200),
        backoff: Duration::from_millis(5),
        attempts_max: 3,
        ..ExporterConfig::new(endpoint, ShardNumber(3))
    }
}

/// Waits until the totals are as wanted.
fn wait_for(handle: &ExporterHandle, what: &str, wanted: impl Fn(&ExportTotals) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !wanted(&handle.totals()) {
        assert!(Instant::now() < end, "no {what}: {:?}", handle.totals());
        std::thread::sleep(Duration::from_millis(1));
    }
}

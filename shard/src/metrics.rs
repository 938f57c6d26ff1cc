//! The shard's metrics: what is counted as it happens, and what is read when someone asks.

use vyr_core::metrics::{Counter, Gauge, Histogram, Metric, Registry, Snapshot, Unit};
use vyr_core::task::{Kind, Status, Usage};

use crate::rt;
use crate::shard::Shard;

const TASKS: Metric = Metric {
    name: "vyr_tasks",
    unit: Unit::Count,
    help: "Tasks that ended, by kind and terminal status.",
};
const TASKS_REFUSED: Metric = Metric {
    name: "vyr_tasks_refused",
    unit: Unit::Count,
    help: "Tasks refused because the queue was full or the shard was stopping.",
};
const COLD_STARTS: Metric = Metric {
    name: "vyr_cold_starts",
    unit: Unit::Count,
    help: "Tasks whose artifact had to be loaded first.",
};
const INSTANCES_REUSED: Metric = Metric {
    name: "vyr_instances_reused",
    unit: Unit::Count,
    help: "Tasks served by an instance that had served tasks before.",
};
const INSTANCES_IDLE: Metric = Metric {
    name: "vyr_instances_idle",
    unit: Unit::Count,
    help: "Instances that wait for their next task.",
};
const QUEUE: Metric = Metric {
    name: "vyr_task_queue_seconds",
    unit: Unit::Seconds,
    help: "Time tasks waited for their turn.",
};
const INSTANTIATE: Metric = Metric {
    name: "vyr_task_instantiate_seconds",
    unit: Unit::Seconds,
    help: "Time to make an instance.",
};
const EXECUTE: Metric = Metric {
    name: "vyr_task_execute_seconds",
    unit: Unit::Seconds,
    help: "Time from the first to the last instruction of guests, waiting included.",
};
const TOTAL: Metric = Metric {
    name: "vyr_task_seconds",
    unit: Unit::Seconds,
    help: "Time from the arrival of a task to its end.",
};
const RUNNING: Metric = Metric {
    name: "vyr_tasks_running",
    unit: Unit::Count,
    help: "Tasks that run now.",
};
const QUEUED: Metric = Metric {
    name: "vyr_tasks_queued",
    unit: Unit::Count,
    help: "Tasks that wait now.",
};
const KEPT: Metric = Metric {
    name: "vyr_tasks_kept",
    unit: Unit::Count,
    help: "Ended tasks that are kept for reading.",
};
const KEPT_BYTES: Metric = Metric {
    name: "vyr_tasks_kept_bytes",
    unit: Unit::Bytes,
    help: "Output and log bytes of ended tasks that are kept.",
};
const STATES: Metric = Metric {
    name: "vyr_states",
    unit: Unit::Count,
    help: "States that exist.",
};
const STATE_KEYS: Metric = Metric {
    name: "vyr_state_keys",
    unit: Unit::Count,
    help: "Keys of all states, those not freed yet included.",
};
const STATE_BYTES: Metric = Metric {
    name: "vyr_state_bytes",
    unit: Unit::Bytes,
    help: "Keys, values and overhead of all states as the bounds count them, those not freed yet included.",
};
const PANICS: Metric = Metric {
    name: "vyr_panics",
    unit: Unit::Count,
    help: "Panics contained; each is a defect of VYR.",
};
const RECORDS: Metric = Metric {
    name: "vyr_trace_records",
    unit: Unit::Count,
    help: "Trace records by what became of them; those under way are not counted yet.",
};
const GUEST_SPANS: Metric = Metric {
    name: "vyr_guest_spans",
    unit: Unit::Count,
    help: "Spans of guests' own by what became of them.",
};
const LOG_RECORDS: Metric = Metric {
    name: "vyr_log_records",
    unit: Unit::Count,
    help: "Log records of guests for the collector by what became of them.",
};

pub(crate) struct Metrics {
    registry: Registry,
    ended: Vec<(Kind, Status, Counter)>,
    refused: Counter,
    cold_starts: Counter,
    instances_reused: Counter,
    instances_idle: Gauge,
    times: [(Kind, Times); 2],
    running: Gauge,
    queued: Gauge,
    kept: Gauge,
    kept_bytes: Gauge,
    states: Gauge,
    state_keys: Gauge,
    state_bytes: Gauge,
    panics: Counter,
    records: [Counter; 4],
    guest_spans: [Counter; 3],
    log_records: [Counter; 2],
}

/// The times of one kind of tasks.
struct Times {
    queue: Histogram,
    instantiate: Histogram,
    execute: Histogram,
    total: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let terminal = || {
            Status::ALL
                .into_iter()
                .filter(|status| status.is_terminal())
        };
        let ended = [Kind::Command, Kind::Http]
            .into_iter()
            .flat_map(|kind| terminal().map(move |status| (kind, status)));
        let ended = ended
            .map(|(kind, status)| {
                let labels = [("kind", kind.as_str()), ("status", status.as_str())];
                (kind, status, registry.counter(&TASKS, &labels))
            })
            .collect();
        let times = [Kind::Command, Kind::Http].map(|kind| {
            let histogram = |metric| registry.histogram(metric, &[("kind", kind.as_str())]);
            let times = Times {
                queue: histogram(&QUEUE),
                instantiate: histogram(&INSTANTIATE),
                execute: histogram(&EXECUTE),
                total: histogram(&TOTAL),
            };
            (kind, times)
        });
        let records = ["exported", "dropped_ring", "dropped_export", "unsampled"]
            .map(|outcome| registry.counter(&RECORDS, &[("outcome", outcome)]));
        let guest_spans = ["exported", "dropped", "unsampled"]
            .map(|outcome| registry.counter(&GUEST_SPANS, &[("outcome", outcome)]));
        let log_records = ["exported", "dropped"]
            .map(|outcome| registry.counter(&LOG_RECORDS, &[("outcome", outcome)]));
        Self {
            ended,
            refused: registry.counter(&TASKS_REFUSED, &[]),
            cold_starts: registry.counter(&COLD_STARTS, &[]),
            instances_reused: registry.counter(&INSTANCES_REUSED, &[]),
            instances_idle: registry.gauge(&INSTANCES_IDLE, &[]),
            times,
            running: registry.gauge(&RUNNING, &[]),
            queued: registry.gauge(&QUEUED, &[]),
            kept: registry.gauge(&KEPT, &[]),
            kept_bytes: registry.gauge(&KEPT_BYTES, &[]),
            states: registry.gauge(&STATES, &[]),
            state_keys: registry.gauge(&STATE_KEYS, &[]),
            state_bytes: registry.gauge(&STATE_BYTES, &[]),
            panics: registry.counter(&PANICS, &[]),
            records,
            guest_spans,
            log_records,
            registry,
        }
    }

    pub(crate) fn cold_start(&self) {
        self.cold_starts.inc();
    }

    pub(crate) fn task_refused(&self) {
        self.refused.inc();
    }

    /// Counts an ended task. `ran` is false for one that was stopped while it waited.
    pub(crate) fn task_ended(
        &self,
        kind: Kind,
        status: Status,
        usage: &Usage,
        total_ns: u64,
        ran: bool,
    ) {
        let ended = self
            .ended
            .iter()
            .find(|(k, s, _)| (*k, *s) == (kind, status));
        if let Some((_, _, counter)) = ended {
            counter.inc();
        }
        let Some((_, times)) = self.times.iter().find(|(k, _)| *k == kind) else {
            return;
        };
        times.total.record_ns(total_ns);
        if usage.reused {
            self.instances_reused.inc();
        }
        if ran {
            times.queue.record_ns(usage.queue_us * 1000);
            times.instantiate.record_ns(usage.instantiate_us * 1000);
            times.execute.record_ns(usage.execute_us * 1000);
        }
    }

    pub(crate) fn snapshot(&self, shard: &Shard) -> Snapshot {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.set(whole(shard.running()));
        self.queued.set(whole(shard.queued()));
        self.instances_idle.set(whole(shard.idle_instances()));
        self.kept.set(whole(shard.table.ended_len()));
        self.kept_bytes
            .set(i64::try_from(shard.table.ended_bytes()).unwrap_or(i64::MAX));
        let states = shard.states().usage();
        self.states.set(whole(states.states));
        self.state_keys
            .set(states.keys.try_into().unwrap_or(i64::MAX));
        self.state_bytes
            .set(states.bytes.try_into().unwrap_or(i64::MAX));
        self.panics.raise_to(rt::panics());
        let totals = shard.steps.totals();
        let totals = [
            totals.exported,
            totals.dropped_ring,
            totals.dropped_export,
            totals.unsampled,
        ];
        for (counter, total) in self.records.iter().zip(totals) {
            counter.raise_to(total);
        }
        let events = shard.steps.event_totals();
        let spans = [
            events.spans_exported,
            events.spans_dropped,
            events.spans_unsampled,
        ];
        for (counter, total) in self.guest_spans.iter().zip(spans) {
            counter.raise_to(total);
        }
        let logs = [events.logs_exported, events.logs_dropped];
        for (counter, total) in self.log_records.iter().zip(logs) {
            counter.raise_to(total);
        }
        self.registry.snapshot()
    }
}

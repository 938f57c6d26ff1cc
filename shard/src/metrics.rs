//! The shard's metrics: what is counted as it happens, and what is read when someone asks.

mod artifacts;
mod process;

use vyr_core::metrics::{Counter, Gauge, Histogram, Metric, Registry, Snapshot, TimeCounter, Unit};
use vyr_core::task::{Kind, Status};

use crate::clock;
use crate::guest;
use crate::rt;
use crate::shard::Shard;
use crate::task::Task;
use artifacts::PerArtifact;
use process::Stalls;

const TASKS: Metric = Metric {
    name: "vyr_tasks",
    unit: Unit::Count,
    help: "Tasks that ended, by kind and terminal status.",
};
const TASKS_REFUSED: Metric = Metric {
    name: "vyr_tasks_refused",
    unit: Unit::Count,
    help: "Tasks refused because the queue was full, a request had waited for too long, or the shard was stopping.",
};
const COLD_STARTS: Metric = Metric {
    name: "vyr_cold_starts",
    unit: Unit::Count,
    help: "Tasks whose artifact had to be loaded first.",
};
const INSTANCES_LIVE: Metric = Metric {
    name: "vyr_instances_live",
    unit: Unit::Count,
    help: "Instances in the pool: those that serve a task and those that wait for one.",
};
const INSTANCES_LIVE_MAX: Metric = Metric {
    name: "vyr_instances_live_max",
    unit: Unit::Count,
    help: "Instances that the pool has room for.",
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
const EXECUTOR_CPU: Metric = Metric {
    name: "vyr_executor_cpu_seconds",
    unit: Unit::Seconds,
    help: "CPU time of the executor's thread; its rate is the share of the core that is busy.",
};
const EXECUTOR_STALL: Metric = Metric {
    name: "vyr_executor_stall_seconds",
    unit: Unit::Seconds,
    help: "Longest time in the last 10 seconds for which one task kept the executor to itself, to a few milliseconds.",
};
const EPOCH_YIELDS: Metric = Metric {
    name: "vyr_epoch_yields",
    unit: Unit::Count,
    help: "Times a computing guest gave way to the others.",
};
const FORWARD_HOPS: Metric = Metric {
    name: "vyr_forward_hops",
    unit: Unit::Count,
    help: "Requests sent on to another shard.",
};
const CONNECTIONS: Metric = Metric {
    name: "vyr_connections",
    unit: Unit::Count,
    help: "Connections that are open, those of other shards included.",
};
const MEMORY_RESIDENT: Metric = Metric {
    name: "vyr_memory_resident_bytes",
    unit: Unit::Bytes,
    help: "Resident memory of the shard's process.",
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
    instances_live: Gauge,
    instances_live_max: Gauge,
    instances_reused: Counter,
    instances_idle: Gauge,
    executor_cpu: TimeCounter,
    executor_stall: Gauge,
    stalls: Stalls,
    epoch_yields: Counter,
    forward_hops: Counter,
    connections: Gauge,
    memory_resident: Gauge,
    artifacts: PerArtifact,
    /// Of commands, and of HTTP tasks.
    times: [Times; 2],
    running: Gauge,
    queued: Gauge,
    kept: Gauge,
    kept_bytes: Gauge,
    states: Gauge,
    state_keys: Gauge,
    state_bytes: Gauge,
    panics: Counter,
    records: [Counter; 3],
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
            Times {
                queue: histogram(&QUEUE),
                instantiate: histogram(&INSTANTIATE),
                execute: histogram(&EXECUTE),
                total: histogram(&TOTAL),
            }
        });
        let records = ["exported", "dropped_ring", "dropped_export"]
            .map(|outcome| registry.counter(&RECORDS, &[("outcome", outcome)]));
        let guest_spans = ["exported", "dropped", "unsampled"]
            .map(|outcome| registry.counter(&GUEST_SPANS, &[("outcome", outcome)]));
        let log_records = ["exported", "dropped"]
            .map(|outcome| registry.counter(&LOG_RECORDS, &[("outcome", outcome)]));
        Self {
            ended,
            refused: registry.counter(&TASKS_REFUSED, &[]),
            cold_starts: registry.counter(&COLD_STARTS, &[]),
            instances_live: registry.gauge(&INSTANCES_LIVE, &[]),
            instances_live_max: registry.gauge(&INSTANCES_LIVE_MAX, &[]),
            instances_reused: registry.counter(&INSTANCES_REUSED, &[]),
            instances_idle: registry.gauge(&INSTANCES_IDLE, &[]),
            executor_cpu: registry.time_counter(&EXECUTOR_CPU, &[]),
            executor_stall: registry.gauge(&EXECUTOR_STALL, &[]),
            stalls: Stalls::default(),
            epoch_yields: registry.counter(&EPOCH_YIELDS, &[]),
            forward_hops: registry.counter(&FORWARD_HOPS, &[]),
            connections: registry.gauge(&CONNECTIONS, &[]),
            memory_resident: registry.gauge(&MEMORY_RESIDENT, &[]),
            artifacts: PerArtifact::new(registry.clone()),
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

    /// Every metric, without asking the shard.
    #[cfg(test)]
    pub(crate) fn registered(&self) -> Snapshot {
        self.registry.snapshot()
    }

    pub(crate) fn cold_start(&self) {
        self.cold_starts.inc();
    }

    pub(crate) fn task_refused(&self) {
        self.refused.inc();
    }

    /// Counts the requests that are sent on to another shard.
    pub(crate) fn forward_hops(&self) -> &Counter {
        &self.forward_hops
    }

    /// Counts the connections that are open.
    pub(crate) fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The time a task has waited for its turn, which has come.
    pub(crate) fn queued(&self, kind: Kind, time_ns: u64) {
        self.times(kind).queue.record_ns(time_ns);
    }

    /// The time it took to make a task's instance.
    pub(crate) fn instantiated(&self, kind: Kind, time_ns: u64) {
        self.times(kind).instantiate.record_ns(time_ns);
    }

    /// The time a task's guest has executed.
    pub(crate) fn executed(&self, task: &Task, time_ns: u64) {
        self.times(task.kind).execute.record_ns(time_ns);
        self.artifacts.executed(task, time_ns);
    }

    /// Counts an ended task.
    pub(crate) fn task_ended(&self, task: &Task, total_ns: u64) {
        let status = task.status();
        let mut ended = self.ended.iter();
        if let Some((_, _, counter)) = ended.find(|(k, s, _)| (*k, *s) == (task.kind, status)) {
            counter.inc();
        }
        self.artifacts.ended(task, status);
        self.times(task.kind).total.record_ns(total_ns);
        if task.usage().reused {
            self.instances_reused.inc();
        }
    }

    /// To be called once a second: looks at how long tasks kept the executor to themselves.
    pub(crate) fn look_for_stalls(&self) {
        self.stalls.look();
    }

    /// To be called once a second: artifacts that are in the store no more make room for those that run.
    pub(crate) fn forget_artifacts(&self, shard: &Shard) {
        self.artifacts.forget(|digest| {
            let mut runs = false;
            shard.watch.visit(|task| runs |= task.artifact == *digest);
            !runs && shard.is_gone(digest)
        });
    }

    fn times(&self, kind: Kind) -> &Times {
        let [command, http] = &self.times;
        match kind {
            Kind::Command => command,
            Kind::Http => http,
        }
    }

    pub(crate) fn snapshot(&self, shard: &Shard) -> Snapshot {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        shard.watch.visit(|task| self.artifacts.computed(task));
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
        let (live, live_max) = shard.engine.instances();
        self.instances_live.set(live);
        self.instances_live_max.set(live_max);
        self.executor_cpu.raise_to_ns(clock::thread_cpu_ns());
        self.stalls.look();
        self.executor_stall.set_time(self.stalls.longest());
        self.epoch_yields.raise_to(guest::epoch_yields());
        if let Some(bytes) = process::resident_bytes() {
            self.memory_resident.set(bytes);
        }
        self.panics.raise_to(rt::panics());
        let totals = shard.steps.totals();
        let totals = [totals.exported, totals.dropped_ring, totals.dropped_export];
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

use vyr_core::metrics::{Metric, Registry, Unit};

use super::*;

const TASKS: Metric = Metric {
    name: "vyr_tasks",
    unit: Unit::Count,
    help: "x",
};
const TIMES: Metric = Metric {
    name: "vyr_task_seconds",
    unit: Unit::Seconds,
    help: "x",
};
const CPU: Metric = Metric {
    name: "vyr_executor_cpu_seconds",
    unit: Unit::Seconds,
    help: "x",
};
const RUNNING: Metric = Metric {
    name: "vyr_tasks_running",
    unit: Unit::Count,
    help: "x",
};

fn at(unix_ms: u64, registry: &Registry) -> ShardMetrics {
    // Through JSON, as it comes from a node.
    let sent = serde_json::to_string(&registry.snapshot()).expect("JSON");
    ShardMetrics {
        shard: ShardNumber(1),
        unix_ms,
        snapshot: serde_json::from_str(&sent).expect("it reads back"),
    }
}

#[test]
fn counters_and_histograms_are_differences_and_gauges_are_not() {
    let registry = Registry::new();
    let failed = registry.counter(&TASKS, &[("kind", "http"), ("status", "failed")]);
    let succeeded = registry.counter(&TASKS, &[("kind", "http"), ("status", "succeeded")]);
    let times = registry.histogram(&TIMES, &[("kind", "http")]);
    let cpu = registry.time_counter(&CPU, &[]);
    let running = registry.gauge(&RUNNING, &[]);
    failed.inc();
    for _ in 0..1000 {
        times.record_ns(5_000_000_000);
    }
    running.set(9);
    let before = at(10_000, &registry);
    for _ in 0..30 {
        succeeded.inc();
        times.record_ns(2_000_000);
    }
    times.record_ns(1);
    cpu.add_ns(500_000_000);
    running.set(4);
    let commands = registry.counter(&TASKS, &[("kind", "command"), ("status", "succeeded")]);
    commands.inc();
    let interval = Interval::between(&before, &at(12_000, &registry));

    assert_eq!(
        (interval.start_unix_ms, interval.length_ms),
        (10_000, 2_000)
    );
    assert_eq!(interval.counted("vyr_tasks", None), 31);
    assert_eq!(interval.counted("vyr_tasks", Some(("status", "failed"))), 0);
    assert_eq!(interval.rate("vyr_tasks", Some(("kind", "http"))), 15.0);
    assert_eq!(interval.gauge("vyr_tasks_running"), Some(4.0));
    assert_eq!(interval.gauge("vyr_no_such_gauge"), None);
    assert_eq!(interval.busy_share(), Some(0.25));
    let times = interval.histogram("vyr_task_seconds");
    assert_eq!((times.count(), times.sum_ns), (31, 60_000_001));
    let percentiles = times.percentiles().expect("recorded");
    assert!(
        percentiles.max_ns < 3_000_000,
        "not the five seconds of before"
    );
    assert_eq!(interval.histograms().count(), 1);
}

#[test]
fn a_value_that_fell_is_a_new_process_whose_counts_are_all_new() {
    let old = Registry::new();
    old.counter(&TASKS, &[("status", "failed")]).inc();
    let succeeded = old.counter(&TASKS, &[("status", "succeeded")]);
    (0..100).for_each(|_| succeeded.inc());
    let new = Registry::new();
    new.counter(&TASKS, &[("status", "failed")]).inc();
    let succeeded = new.counter(&TASKS, &[("status", "succeeded")]);
    (0..7).for_each(|_| succeeded.inc());
    let interval = Interval::between(&at(0, &old), &at(1_000, &new));
    assert_eq!(interval.counted("vyr_tasks", None), 8);
}

#[test]
fn no_time_has_no_rate() {
    let registry = Registry::new();
    registry.counter(&TASKS, &[]).inc();
    let empty = ShardMetrics {
        shard: ShardNumber(1),
        unix_ms: 5,
        snapshot: Snapshot::default(),
    };
    let interval = Interval::between(&empty, &at(5, &registry));
    assert_eq!(interval.rate("vyr_tasks", None), 0.0);
    assert_eq!(interval.busy_share(), None);
    assert_eq!(interval.histogram("vyr_task_seconds").count(), 0);
}

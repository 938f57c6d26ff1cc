//! A line of figures for each interval and shard.

use super::interval::Interval;
use crate::commands::figures::{count, rate, share, time, time_of_day};

/// The headings of the columns.
pub(crate) fn headings() -> String {
    columns([
        "TIME", "SHARD", "TASKS/S", "FAILED/S", "RUNNING", "QUEUED", "P50", "P99", "P99.9", "BUSY",
    ])
}

/// An interval's line. What the shard does not tell is `-`.
pub(crate) fn line(interval: &Interval) -> String {
    let gauge = |name| {
        let value = interval.gauge(name);
        value.map_or_else(|| "-".into(), |value| count(value.max(0.0) as u64))
    };
    let times = interval.histogram("vyr_task_seconds").percentiles();
    let percentile = |ns: Option<u64>| ns.map_or_else(|| "-".into(), time);
    let tasks = interval.rate("vyr_tasks", None);
    let succeeded = interval.rate("vyr_tasks", Some(("status", "succeeded")));
    columns([
        &time_of_day(interval.start_unix_ms + interval.length_ms),
        &interval.shard.to_string(),
        &rate(tasks),
        &rate((tasks - succeeded).max(0.0)),
        &gauge("vyr_tasks_running"),
        &gauge("vyr_tasks_queued"),
        &percentile(times.map(|times| times.p50_ns)),
        &percentile(times.map(|times| times.p99_ns)),
        &percentile(times.map(|times| times.p999_ns)),
        &interval.busy_share().map_or_else(|| "-".into(), share),
    ])
}

fn columns(cells: [&str; 10]) -> String {
    let [time, shard, cells @ ..] = cells;
    let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>8}")).collect();
    format!("{time:<12}  {shard:>5}  {}", cells.join("  "))
}

#[cfg(test)]
mod tests {
    use vyr_client::ShardMetrics;
    use vyr_core::id::ShardNumber;
    use vyr_core::metrics::{Metric, Registry, Snapshot, Unit};

    use super::*;

    #[test]
    fn figures_stand_below_their_headings() {
        let metric = |name, unit| Metric {
            name,
            unit,
            help: "x",
        };
        let registry = Registry::new();
        let ended = |status| {
            let tasks = metric("vyr_tasks", Unit::Count);
            registry.counter(&tasks, &[("status", status)])
        };
        ended("succeeded").add(1000);
        ended("timed_out").add(4);
        let running = registry.gauge(&metric("vyr_tasks_running", Unit::Count), &[]);
        running.set(3);
        let times = registry.histogram(&metric("vyr_task_seconds", Unit::Seconds), &[]);
        (0..1000).for_each(|_| times.record_ns(250_000));
        let cpu = registry.time_counter(&metric("vyr_executor_cpu_seconds", Unit::Seconds), &[]);
        cpu.add_ns(400_000_000);
        let at = |unix_ms, snapshot| ShardMetrics {
            shard: ShardNumber(1),
            unix_ms,
            snapshot,
        };
        let before = at(1_700_000_000_000, Snapshot::default());
        let interval = Interval::between(&before, &at(1_700_000_002_000, registry.snapshot()));
        assert_eq!(
            format!("{}\n{}", headings(), line(&interval)),
            "TIME          SHARD   TASKS/S  FAILED/S   RUNNING    QUEUED       P50       P99     P99.9      BUSY\n\
             22:13:22.000      1       502      2.00         3         -     250µs     250µs     250µs       20%"
        );
        let idle = Interval::between(&before, &before);
        assert!(line(&idle).contains(" 0  "), "{}", line(&idle));
    }
}

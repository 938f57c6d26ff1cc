//! Tasks that are cancelled, and shards that stop.

use std::time::{Duration, Instant};

use vyr_core::limits::ShardLimits;
use vyr_core::metrics::Value;
use vyr_core::problem::Code;
use vyr_core::task::Status;
use vyr_shard::rt;

use crate::support::*;

#[test]
fn cancel_reaches_a_task_wherever_it_is() {
    let limits = ShardLimits {
        running_max: 2,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = probe(&shard).await;
        let start = async |arguments: &[&str]| {
            shard
                .submit(submit(&shard, probe, arguments))
                .await
                .expect("it is accepted")
                .task
        };
        let spinning = start(&["spin"]).await;
        let waiting = start(&["sleep", "60000"]).await;
        let queued = start(&["exit", "0"]).await;
        until("two run", || shard.running() == 2).await;
        assert_eq!(queued.status(), Status::Queued);
        for task in [queued, waiting, spinning] {
            let was = task.status();
            let asked = Instant::now();
            task.cancel();
            ended(&task).await;
            let took = asked.elapsed();
            assert_eq!(task.status(), Status::Cancelled, "it was {was}");
            assert_eq!(task.error().map(|error| error.code), Some(Code::Cancelled));
            // The promise is 50 ms; a test on a busy machine only decides right or wrong.
            assert!(
                took < Duration::from_secs(2),
                "it was {was} and took {took:?}"
            );
        }
    });
}

#[test]
fn cancelling_an_ended_task_changes_nothing() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let task = run(&shard, submit(&shard, probe, &["exit", "3"])).await;
        let before = task.describe();
        task.cancel();
        assert_eq!(task.describe(), before);
    });
}

#[test]
fn a_spinning_guest_lets_others_run() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let spin = submit(&shard, probe, &["spin"]);
        let spinning = shard.submit(spin).await.expect("it is accepted").task;
        until("it spins", || shard.running() == 1).await;
        for _ in 0..20 {
            let task = run(&shard, submit(&shard, probe, &["exit", "0"])).await;
            assert_eq!(task.status(), Status::Succeeded);
        }
        assert_eq!(spinning.status(), Status::Running);
        spinning.cancel();
        ended(&spinning).await;
    });
}

#[test]
fn the_time_of_a_spinning_guest_is_counted_while_it_spins_and_once() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let cpu_ns = || {
            let families = shard.metrics().families.into_iter();
            let mut families = families.filter(|family| family.name == "vyr_artifact_cpu_seconds");
            let series = families.next().expect("it is there").series.into_iter();
            let times = series.map(|series| match series.value {
                Value::TimeCounter(time_ns) => time_ns,
                other => panic!("{other:?}"),
            });
            times.sum::<u64>()
        };
        let spin = submit(&shard, probe, &["spin"]);
        let spinning = shard.submit(spin).await.expect("it is accepted").task;
        until("its time is seen", || cpu_ns() > 50_000_000).await;
        assert_eq!(spinning.status(), Status::Running);
        spinning.cancel();
        ended(&spinning).await;
        let told_us = spinning.describe().usage.cpu_us;
        assert_eq!(cpu_ns() / 1000, told_us, "nothing is counted twice");
    });
}

#[test]
fn draining_lets_tasks_finish_and_stops_the_rest() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let start = async |arguments: &[&str]| {
            shard
                .submit(submit(&shard, probe, arguments))
                .await
                .expect("it is accepted")
                .task
        };
        let short = start(&["sleep", "50"]).await;
        let long = start(&["sleep", "60000"]).await;
        until("both run", || shard.running() == 2).await;
        rt::timeout(PATIENCE, shard.drain(Duration::from_millis(500)))
            .await
            .expect("it ends");
        assert_eq!(
            (short.status(), long.status()),
            (Status::Succeeded, Status::Cancelled)
        );
        let refused = shard.submit(submit(&shard, probe, &["exit", "0"])).await;
        assert_eq!(
            refused.err().expect("it is refused").code(),
            Code::Overloaded
        );
    });
}

//! Instances that serve several tasks, when their artifact says so, and leave nothing to the next
//! that the next must not see.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt;
use vyr_core::artifact::{InstancePolicy, Instances, Manifest};
use vyr_core::digest::Digest;
use vyr_core::limits::ShardLimits;
use vyr_core::task::Status;
use vyr_shard::{Shard, Task};

use crate::support::*;

fn reuse(tasks_max: u32, idle_ms_max: u64) -> Manifest {
    Manifest {
        instances: Instances {
            policy: InstancePolicy::Reuse,
            tasks_max: Some(tasks_max),
            idle_ms_max: Some(idle_ms_max),
        },
        ..Manifest::default()
    }
}

/// Runs one HTTP task to its end, however it ends.
async fn invoke(shard: &Rc<Shard>, artifact: &Digest, path: &str) -> Rc<Task> {
    let arrival = shard.arrival(None);
    let (task, response) = shard
        .invoke(artifact, get(path), arrival)
        .await
        .expect("accepted");
    if let Some(response) = response {
        // A guest that fails cuts its body off, when its head was on its way already.
        let _ = response.into_body().collect().await;
    }
    ended(&task).await;
    task
}

fn reused(task: &Rc<Task>) -> bool {
    task.describe().usage.reused
}

#[test]
fn fresh_is_the_default() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", Manifest::default()).await;
        for _ in 0..3 {
            assert!(!reused(&invoke(&shard, &hello, "/").await));
        }
        assert_eq!(shard.idle_instances(), 0);
    });
}

#[test]
fn an_instance_serves_so_many_tasks() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", reuse(3, 60_000)).await;
        let mut pattern = Vec::new();
        for _ in 0..7 {
            let task = invoke(&shard, &hello, "/").await;
            assert_eq!(task.status(), Status::Succeeded);
            pattern.push(reused(&task));
        }
        assert_eq!(pattern, [false, true, true, false, true, true, false]);
        assert_eq!(shard.idle_instances(), 1);
    });
}

#[test]
fn an_instance_that_failed_serves_nobody() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", reuse(100, 60_000)).await;
        for path in ["/trap", "/panic", "/trap-after-headers"] {
            assert!(!reused(&invoke(&shard, &probe, "/hello").await), "{path}");
            assert!(reused(&invoke(&shard, &probe, "/hello").await));
            let failed = invoke(&shard, &probe, path).await;
            assert_eq!(failed.status(), Status::Failed, "{path}");
            assert!(reused(&failed));
            assert_eq!(shard.idle_instances(), 0, "{path}");
        }
    });
}

#[test]
fn a_stopped_instance_serves_nobody() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let mut manifest = reuse(100, 60_000);
        manifest.limits.wall_ms_max = Some(50);
        let probe = adopt(&shard, "probe.wasm", manifest).await;
        invoke(&shard, &probe, "/hello").await;
        let spinning = invoke(&shard, &probe, "/spin").await;
        assert!(reused(&spinning));
        assert_eq!(spinning.status(), Status::TimedOut);
        assert_eq!(shard.idle_instances(), 0);
        // The limits of the task before do not end this one.
        let next = invoke(&shard, &probe, "/hello").await;
        assert_eq!(next.status(), Status::Succeeded);
    });
}

#[test]
fn each_task_has_its_own_log() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", reuse(100, 60_000)).await;
        let one = invoke(&shard, &probe, "/stderr?text=first").await;
        let other = invoke(&shard, &probe, "/stderr?text=second").await;
        assert!(reused(&other));
        let log = |task: &Task| String::from_utf8_lossy(&task.logs()).into_owned();
        assert!(log(&one).contains("first") && !log(&one).contains("second"));
        assert!(log(&other).contains("second") && !log(&other).contains("first"));
    });
}

#[test]
fn tasks_at_the_same_time_have_an_instance_each() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", reuse(100, 60_000)).await;
        let sleeping = || invoke(&shard, &probe, "/sleep?ms=50");
        let (one, other) = futures_lite::future::zip(sleeping(), sleeping()).await;
        assert!(!reused(&one) && !reused(&other));
        assert_eq!(shard.idle_instances(), 2);
        let (one, other) = futures_lite::future::zip(sleeping(), sleeping()).await;
        assert!(reused(&one) && reused(&other));
    });
}

#[test]
fn memory_that_a_task_left_counts_for_the_next() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let mut manifest = reuse(100, 60_000);
        manifest.limits.memory_bytes_max = Some(8 << 20);
        let probe = adopt(&shard, "probe.wasm", manifest).await;
        let first = invoke(&shard, &probe, "/grow?bytes=3000000").await;
        let second = invoke(&shard, &probe, "/hello").await;
        let peak = |task: &Task| task.describe().usage.memory_peak_bytes;
        assert!(reused(&second));
        assert!(peak(&first) > 3_000_000, "{}", peak(&first));
        assert_eq!(peak(&second), peak(&first));
    });
}

#[test]
fn idle_instances_end() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", reuse(100, 1)).await;
        invoke(&shard, &hello, "/").await;
        assert_eq!(shard.idle_instances(), 1);
        until("the instance is gone", || shard.idle_instances() == 0).await;
        assert!(!reused(&invoke(&shard, &hello, "/").await));
    });
}

#[test]
fn idle_instances_are_bounded_and_leave_room_for_tasks() {
    let limits = ShardLimits {
        running_max: 4,
        idle_instances_max: 2,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = adopt(&shard, "probe.wasm", reuse(100, 60_000)).await;
        let other = adopt(&shard, "hello.wasm", Manifest::default()).await;
        let sleeping = || invoke(&shard, &probe, "/sleep?ms=20");
        let pair = || futures_lite::future::zip(sleeping(), sleeping());
        futures_lite::future::zip(pair(), pair()).await;
        assert_eq!(shard.idle_instances(), 2);
        // All that may run at once still can.
        let fresh = || invoke(&shard, &other, "/");
        let pair = || futures_lite::future::zip(fresh(), fresh());
        let ((a, b), (c, d)) = futures_lite::future::zip(pair(), pair()).await;
        for task in [a, b, c, d] {
            assert_eq!(task.status(), Status::Succeeded, "{:?}", task.error());
        }
    });
}

#[test]
fn bodies_reach_a_reused_instance_whole() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", reuse(100, 60_000)).await;
        for size in [0, 1, 70_000, 3] {
            let body = Bytes::from(vec![b'z'; size]);
            let request = request("POST", "/echo", body.clone());
            let arrival = shard.arrival(None);
            let (task, response) = shard
                .invoke(&probe, request, arrival)
                .await
                .expect("accepted");
            let response = response.unwrap_or_else(|| panic!("{:?}", task.error()));
            assert_eq!(text(response).await.as_bytes(), &body[..]);
            ended(&task).await;
        }
    });
}

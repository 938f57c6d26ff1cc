//! Limits: reached, they end the task with their own code, and nothing else.

use std::time::{Duration, Instant};

use vyr_core::artifact::Manifest;
use vyr_core::limits::ShardLimits;
use vyr_core::problem::Code;
use vyr_core::task::Status;

use crate::support::*;

fn manifest(limits: &str) -> Manifest {
    Manifest::from_toml(&format!("[limits]\n{limits}\n")).expect("a valid manifest")
}

#[test]
fn wall_time_ends_a_sleeper_and_a_spinner() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", manifest("wall_ms_max = 100")).await;
        for arguments in [&["sleep", "60000"][..], &["spin"]] {
            let started = Instant::now();
            let task = run(&shard, submit(&shard, probe, arguments)).await;
            assert_eq!(task.status(), Status::TimedOut, "{arguments:?}");
            let error = task.error().expect("it says why");
            assert_eq!(error.code, Code::WallTimeExceeded);
            assert!(
                error.message.contains("wall_ms_max = 100"),
                "{}",
                error.message
            );
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    });
}

#[test]
fn a_client_may_ask_for_less_time() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let mut sleep = submit(&shard, probe, &["sleep", "60000"]);
        sleep.wall_ms_max = Some(50);
        assert_eq!(run(&shard, sleep).await.status(), Status::TimedOut);
    });
}

#[test]
fn cpu_time_ends_a_spinner_but_not_a_sleeper() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", manifest("cpu_ms_max = 100")).await;
        let task = run(&shard, submit(&shard, probe, &["spin"])).await;
        assert_eq!(
            task.error().map(|error| error.code),
            Some(Code::CpuTimeExceeded)
        );
        let used_us = task.describe().usage.cpu_us;
        assert!(used_us >= 100_000, "{used_us}");
        let task = run(&shard, submit(&shard, probe, &["sleep", "300"])).await;
        assert_eq!(task.status(), Status::Succeeded);
    });
}

#[test]
fn memory_is_refused_beyond_the_limit_and_the_error_says_so() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(
            &shard,
            "probe.wasm",
            manifest("memory_bytes_max = 16777216"),
        )
        .await;
        let task = run(&shard, submit(&shard, probe, &["grow", "8000000"])).await;
        assert_eq!(task.status(), Status::Succeeded, "{:?}", task.error());
        assert!(task.describe().usage.memory_peak_bytes > 8_000_000);
        let task = run(&shard, submit(&shard, probe, &["grow", "100000000"])).await;
        if task.status() == Status::Failed {
            let error = task.error().expect("it says why");
            assert!(
                matches!(error.code, Code::MemoryExceeded | Code::GuestExit),
                "{error:?}"
            );
        }
        assert!(task.describe().usage.memory_peak_bytes <= 16 << 20);
    });
}

#[test]
fn kept_output_has_a_bound() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", manifest("output_bytes_max = 1000")).await;
        let task = run(&shard, submit(&shard, probe, &["flood", "1000"])).await;
        assert_eq!(
            (task.status(), output(&task).len()),
            (Status::Succeeded, 1000)
        );
        let task = run(&shard, submit(&shard, probe, &["flood", "1001"])).await;
        assert_eq!(
            task.error().map(|error| error.code),
            Some(Code::OutputExceeded)
        );
        assert!(output(&task).len() <= 1000);
    });
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let limits = ShardLimits {
        running_max: 2,
        queued_max: 2,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = probe(&shard).await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let sleep = submit(&shard, probe, &["sleep", "60000"]);
            tasks.push(shard.submit(sleep).await.expect("it fits").task);
        }
        until("two run and two wait", || {
            (shard.running(), shard.queued()) == (2, 2)
        })
        .await;
        let one_more = shard.submit(submit(&shard, probe, &["exit", "0"])).await;
        assert_eq!(
            one_more.err().expect("it is refused").code(),
            Code::Overloaded
        );
        for task in tasks.drain(..) {
            task.cancel();
            ended(&task).await;
            assert_eq!(task.status(), Status::Cancelled);
        }
        let task = run(&shard, submit(&shard, probe, &["exit", "0"])).await;
        assert_eq!(task.status(), Status::Succeeded);
    });
}

#[test]
fn a_request_waits_for_a_turn_only_so_long() {
    let limits = ShardLimits {
        running_max: 1,
        request_wait_ms_max: 50,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = probe(&shard).await;
        let sleep = submit(&shard, probe, &["sleep", "60000"]);
        let sleeper = shard.submit(sleep).await.expect("it runs").task;
        until("it runs", || shard.running() == 1).await;
        let hello = async || {
            let arrival = shard.arrival(None);
            shard.invoke(&probe, get("/hello"), arrival).await
        };
        let begun = Instant::now();
        let refused = hello().await.err().expect("it is refused");
        assert_eq!(refused.code(), Code::Overloaded);
        assert!(begun.elapsed() >= Duration::from_millis(50));
        assert_eq!(shard.queued(), 0);
        sleeper.cancel();
        ended(&sleeper).await;
        let (_, response) = hello().await.expect("there is a turn");
        text(response.expect("a response")).await;
    });
}

#[test]
fn ended_tasks_are_forgotten_within_bounds() {
    let limits = ShardLimits {
        finished_max: 3,
        finished_http_max: 2,
        finished_bytes_max: 2500,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = probe(&shard).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(
                run(&shard, submit(&shard, probe, &["exit", "0"]))
                    .await
                    .id(),
            );
        }
        let kept = |ids: &[_]| ids.iter().filter(|id| shard.task(**id).is_ok()).count();
        assert_eq!((kept(&ids[..2]), kept(&ids[2..])), (0, 3), "by count");
        let mut answered = Vec::new();
        for _ in 0..4 {
            let arrival = shard.arrival(None);
            let (task, _) = shard
                .invoke(&probe, get("/hello"), arrival)
                .await
                .expect("accepted");
            ended(&task).await;
            answered.push(task.id());
        }
        let http = (kept(&answered[..2]), kept(&answered[2..]));
        assert_eq!(http, (0, 2), "HTTP tasks have a count of their own");
        assert_eq!(kept(&ids[2..]), 3, "and push no command out");
        let big = run(&shard, submit(&shard, probe, &["flood", "2000"]))
            .await
            .id();
        let bigger = run(&shard, submit(&shard, probe, &["flood", "2100"]))
            .await
            .id();
        assert_eq!((kept(&[big]), kept(&[bigger])), (0, 1), "by bytes");
    });
}

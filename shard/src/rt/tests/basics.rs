//! Deciding, starting, spawning, stopping.

use super::super::*;
use super::*;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn choice_reads_what_it_prints() {
    for choice in [
        ExecutorChoice::Auto,
        ExecutorChoice::IoUring,
        ExecutorChoice::Epoll,
    ] {
        assert_eq!(
            choice.to_string().parse::<ExecutorChoice>().expect("known"),
            choice
        );
    }
    let refusal = "kqueue"
        .parse::<ExecutorChoice>()
        .expect_err("unknown")
        .to_string();
    assert!(
        refusal.contains("kqueue") && refusal.contains("epoll"),
        "{refusal}"
    );
}

#[test]
fn decision_gives_its_reason() {
    for choice in [ExecutorChoice::Auto, ExecutorChoice::Epoll] {
        let decision = decide(choice).expect("these never fail");
        assert!(
            decision.reason.starts_with(&decision.kind.to_string()),
            "{}",
            decision.reason
        );
        assert!(!decision.reason.contains('\n'));
    }
}

#[test]
fn too_little_locked_memory_is_named() {
    alone("basics::too_little_locked_memory_is_named", || {
        let mut limit = getrlimit(Resource::Memlock);
        limit.current = Some(64 * 1024);
        setrlimit(Resource::Memlock, limit).expect("lower the soft limit");
        if decide(ExecutorChoice::IoUring).is_ok() {
            let raised = getrlimit(Resource::Memlock).current;
            assert!(
                raised.is_none_or(|bytes| bytes >= 512 * 1024),
                "raised as far as needed"
            );
        }
        limit.current = Some(64 * 1024);
        limit.maximum = Some(64 * 1024);
        setrlimit(Resource::Memlock, limit).expect("lower the hard limit");
        let refusal = decide(ExecutorChoice::IoUring)
            .expect_err("too little")
            .to_string();
        assert!(
            refusal.contains("65536") && refusal.contains("ulimit -l 512"),
            "{refusal}"
        );
        let decision = decide(ExecutorChoice::Auto).expect("auto never fails");
        assert_eq!(decision.kind, ExecutorKind::Epoll);
        assert!(
            decision.reason.contains("locked memory"),
            "{}",
            decision.reason
        );
    });
}

#[test]
fn kind_is_that_of_the_thread() {
    on_both(async |kind| assert_eq!(super::super::kind(), kind));
}

#[test]
fn a_panic_ends_its_task_only() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("on purpose, in drop");
        }
    }
    on_both(async |_| {
        let before = panics();
        let reached = Rc::new(Cell::new(0));
        spawn(async { panic!("on purpose") });
        spawn(async {
            sleep(Duration::from_millis(1)).await;
            panic!("on purpose, after a wait");
        });
        spawn(async {
            let _held = PanicsInDrop;
        });
        spawn({
            let reached = Rc::clone(&reached);
            async move {
                sleep(Duration::from_millis(2)).await;
                reached.set(1);
            }
        });
        eventually("the other task ends", || reached.get() == 1).await;
        // Other tests of this process may panic on purpose at the same time.
        eventually("three panics are counted", || panics() >= before + 3).await;
    });
}

#[test]
fn a_panic_of_the_main_future_unwinds_and_the_thread_can_go_on() {
    for kind in kinds() {
        let outcome = std::panic::catch_unwind(|| {
            on(kind, || async { panic!("of the main future") });
        });
        let panic = outcome.expect_err("unwinds");
        assert_eq!(
            *panic.downcast_ref::<&str>().expect("its message"),
            "of the main future"
        );
        assert_eq!(on(kind, || async { 7 }), 7);
    }
}

#[test]
fn parked_tasks_are_dropped_at_the_end() {
    struct Flag(Rc<Cell<u32>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    for kind in kinds() {
        let dropped = Rc::new(Cell::new(0));
        on(kind, || async {
            let (listener, address) = listen();
            let flag = Flag(Rc::clone(&dropped));
            spawn(async move {
                let _flag = flag;
                let _ = listener.accept().await;
                let _ = listener.accept().await;
            });
            let client = Stream::connect_tcp(address).await.expect("connect");
            let flag = Flag(Rc::clone(&dropped));
            spawn(async move {
                let _flag = flag;
                echo(client).await;
            });
            let flag = Flag(Rc::clone(&dropped));
            spawn(async move {
                let _flag = flag;
                std::future::pending().await
            });
            let flag = Flag(Rc::clone(&dropped));
            spawn(async move {
                let _flag = flag;
                sleep(Duration::from_secs(1000)).await;
            });
            yield_to_io().await;
            // Never polled at all.
            let flag = Flag(Rc::clone(&dropped));
            spawn(async move {
                let _flag = flag;
                std::future::pending().await
            });
        });
        assert_eq!(dropped.get(), 5, "on {kind}");
    }
}

#[test]
fn executors_follow_one_another_and_run_side_by_side() {
    for kind in kinds() {
        for round in 0..3 {
            assert_eq!(on(kind, || async { round }), round);
        }
        let threads: Vec<_> = (0..2)
            .map(|number| {
                std::thread::spawn(move || {
                    on(kind, || async move {
                        let (mut server, mut client) = tcp_pair().await;
                        client.write_all(&[number]).await.expect("write");
                        let mut got = [0];
                        read_exact(&mut server, &mut got).await;
                        got[0]
                    })
                })
            })
            .collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(usize::from(thread.join().expect("no panic")), number);
        }
    }
}

#[test]
fn nesting_is_refused() {
    on_both(async |kind| {
        let refusal = run(&config(kind), || async {}).expect_err("refused");
        assert!(matches!(refusal, RtError::Nested));
    });
}

#[test]
fn pinning_holds_for_the_executor_and_not_for_its_helpers() {
    use rustix::thread::sched_getaffinity;
    let all = sched_getaffinity(None).expect("affinity");
    let cpu = (0..rustix::thread::CpuSet::MAX_CPU)
        .find(|cpu| all.is_set(*cpu))
        .expect("one");
    for kind in kinds() {
        let pinned = ExecutorConfig {
            cpu: Some(cpu),
            ..config(kind)
        };
        run(&pinned, || async {
            assert_eq!(sched_getaffinity(None).expect("affinity").count(), 1);
            let of_helper = unblock(|| sched_getaffinity(None).expect("affinity").count()).await;
            assert_eq!(of_helper, all.count());
        })
        .expect("the executor starts");
        assert_eq!(
            sched_getaffinity(None).expect("affinity").count(),
            all.count(),
            "restored"
        );
        let nowhere = ExecutorConfig {
            cpu: Some(1_000_000),
            ..config(kind)
        };
        assert!(matches!(
            run(&nowhere, || async {}),
            Err(RtError::Pin { .. })
        ));
    }
}

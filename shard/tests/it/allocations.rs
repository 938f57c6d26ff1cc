//! What a warm task allocates is counted, so that more is noticed.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use vyr_core::artifact::{InstancePolicy, Instances, Manifest};
use vyr_core::digest::Digest;
use vyr_core::limits::ShardLimits;
use vyr_shard::Shard;

use crate::support::*;

/// Allocations of one warm HTTP task with a fresh instance, its request and its response included.
const FRESH_MAX: u64 = 79;
/// The same with an instance that is used again.
const REUSED_MAX: u64 = 46;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// What this thread has allocated less what it has freed.
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is being torn down does not count.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        let _ = LIVE.try_with(|live| live.set(live.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - 1));
        // SAFETY: the pointer came from `alloc`, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocations() -> u64 {
    COUNT.with(Cell::get)
}

async fn one(shard: &Rc<Shard>, hello: &Digest) {
    let arrival = shard.arrival(None);
    let (_, response) = shard
        .invoke(hello, get("/"), arrival)
        .await
        .expect("accepted");
    text(response.expect("a response")).await;
}

/// Allocations of one warm task of an artifact that keeps its instances so. Tables that grow now and then are not
/// the task's: the median of many is.
async fn of_a_warm_task(shard: &Rc<Shard>, policy: InstancePolicy) -> u64 {
    let manifest = Manifest {
        instances: Instances {
            policy,
            ..Instances::default()
        },
        ..Manifest::default()
    };
    let hello = adopt(shard, "hello.wasm", manifest).await;
    for _ in 0..100 {
        one(shard, &hello).await;
    }
    let mut counts = Vec::with_capacity(101);
    for _ in 0..101 {
        let before = allocations();
        one(shard, &hello).await;
        counts.push(allocations() - before);
    }
    counts.sort_unstable();
    let median = counts[counts.len() / 2];
    println!("{policy:?}: {median} allocations");
    // Artifacts are told apart by their component only: this one must go before it comes again.
    shard.forget_artifact(hello, None).await;
    median
}

#[test]
fn a_warm_task_allocates_no_more_than_it_did() {
    on_each_executor(ShardLimits::default(), async |shard| {
        for (policy, bound) in [
            (InstancePolicy::Fresh, FRESH_MAX),
            (InstancePolicy::Reuse, REUSED_MAX),
        ] {
            let count = of_a_warm_task(&shard, policy).await;
            assert!(
                count <= bound,
                "{policy:?}: {count} allocations, at most {bound} are meant; find out which is new, or raise the bound with a reason"
            );
        }
    });
}

/// A collector that takes whatever it is sent, one request a connection.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A request has ended when nothing more comes.
            let pause = Some(Duration::from_millis(50));
            stream.set_read_timeout(pause).expect("settable");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    url
}

#[test]
fn a_span_for_the_collector_allocates_nothing_on_the_executor() {
    let policies = [InstancePolicy::Fresh, InstancePolicy::Reuse];
    let counted = |config| {
        let counted = RefCell::default();
        on_each_executor_with(config, async |shard| {
            for policy in policies {
                let count = of_a_warm_task(&shard, policy).await;
                Vec::push(&mut counted.borrow_mut(), count);
            }
            if let Some((totals, _)) = shard.exported() {
                assert_eq!(totals.dropped_ring, 0, "every span was written");
                until("spans reach the collector", || {
                    shard
                        .exported()
                        .is_some_and(|(totals, _)| totals.exported > 0)
                })
                .await;
            }
        });
        counted.into_inner()
    };
    // Nobody watches and nobody collects: no record is made at all.
    let mut silent = config(ShardLimits {
        recent_records_max: 0,
        ..ShardLimits::default()
    });
    let without = counted(silent.clone());
    silent.otlp_endpoint = Some(collector());
    // A task has four spans at least. One allocation more or less is the pass in which the task ran.
    for (with, without) in counted(silent).into_iter().zip(without) {
        assert!(with <= without + 1, "{with} allocations, {without} without");
    }
}

#[test]
fn tasks_leave_nothing_behind() {
    const TASKS: i64 = 1000;
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", Manifest::default()).await;
        let tasks = async || {
            for _ in 0..TASKS {
                one(&shard, &hello).await;
            }
            LIVE.with(Cell::get)
        };
        // As many as are remembered and more: from then on each takes the place of another.
        let before = tasks().await;
        let grown = tasks().await - before;
        assert!(
            grown.abs() < TASKS / 10,
            "{grown} allocations are left of {TASKS} tasks"
        );
    });
}

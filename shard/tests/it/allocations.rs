//! What a warm task allocates is counted, so that more is noticed.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vyr_core::artifact::{InstancePolicy, Instances, Manifest};
use vyr_core::limits::ShardLimits;

use crate::support::*;

/// Allocations of one warm HTTP task with a fresh instance, its request and its response included.
const FRESH_MAX: u64 = 92;
/// The same with an instance that is used again.
const REUSED_MAX: u64 = 59;

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

#[test]
fn a_warm_task_allocates_no_more_than_it_did() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let reuse = Instances {
            policy: InstancePolicy::Reuse,
            ..Instances::default()
        };
        for (instances, bound) in [(Instances::default(), FRESH_MAX), (reuse, REUSED_MAX)] {
            let manifest = Manifest {
                instances,
                ..Manifest::default()
            };
            // Artifacts are told apart by their component only: the one before must go.
            let hello = adopt(&shard, "hello.wasm", manifest).await;
            let one = async || {
                let arrival = shard.arrival(None);
                let (_, response) = shard
                    .invoke(&hello, get("/"), arrival)
                    .await
                    .expect("accepted");
                text(response.expect("a response")).await;
            };
            for _ in 0..100 {
                one().await;
            }
            // Tables that grow now and then are not the task's: the least of several is.
            let mut least = u64::MAX;
            for _ in 0..100 {
                let before = allocations();
                one().await;
                least = least.min(allocations() - before);
            }
            println!("{:?}: {least} allocations", instances.policy);
            assert!(
                least <= bound,
                "{:?}: {least} allocations, at most {bound} are meant; find out which is new, or raise the bound with a reason",
                instances.policy
            );
            shard.forget_artifact(hello, None).await;
        }
    });
}

#[test]
fn tasks_leave_nothing_behind() {
    const TASKS: i64 = 1000;
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", Manifest::default()).await;
        let tasks = async || {
            for _ in 0..TASKS {
                let arrival = shard.arrival(None);
                let (_, response) = shard
                    .invoke(&hello, get("/"), arrival)
                    .await
                    .expect("accepted");
                text(response.expect("a response")).await;
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

//! Figures of the state kernel: time of an operation beside a bare `HashMap`, memory per key, and
//! the longest pause that any single call makes.
//!
//! `cargo run --release -p vyr-shard --example state_figures [-- KEYS]`
//!
//! Keys and values have 16 bytes. Times are the thread's own CPU time, so that other programs on the
//! machine do not count. The rows of calls that do nothing, and that only write to new memory, show
//! what the clock costs and how long the machine itself interrupts.
//! The allocator is the one of `vyr` itself.
#![expect(
    unsafe_code,
    reason = "an allocator that counts can only be written so"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};
use vyr_core::id::{ShardLife, ShardNumber, StateId, StateIdSource, split_mix};
use vyr_core::limits::{STATE_FREE_STEP_BYTES, ShardLimits, StateLimits};
use vyr_core::state::Mode;
use vyr_shard::state::{Access, Secret, States};

const LIMITS: StateLimits = StateLimits {
    linger_ms: 0,
    keys_max: u64::MAX,
    bytes_max: u64::MAX,
};
const LARGE_VALUE: &[u8] = &[7; 100_000];
/// Operations on one of the two maps before the other has its turn.
const TURN_KEYS: usize = 4096;
const PAGE_BYTES: usize = 4096;
/// About what a key takes, to touch as much new memory as a state does.
const BYTES_PER_KEY: u64 = 64;
const PAUSE_NS_MAX: u64 = 2_000_000;

/// One operation on a key with this number.
type Operation<'a> = &'a mut dyn FnMut(&str, u64);

fn main() {
    let keys = std::env::args().nth(1).map_or(1_000_000, |argument| {
        argument.parse().expect("the argument is a number of keys")
    });
    println!("{keys} keys of 16 bytes, values of 16 bytes");
    // First, since freeing a map of small pieces leaves the allocator work that shows in later calls.
    pauses(keys);
    memory(keys);
    time_beside_a_hash_map(keys);
}

fn time_beside_a_hash_map(keys: u64) {
    println!("\nns per operation            state   HashMap");
    let (mut states, access) = one_state();
    let mut map = HashMap::<Vec<u8>, Vec<u8>>::new();
    let row = |name: &str, state: Operation<'_>, bare: Operation<'_>| {
        let [state, bare] = ns_per_key(keys, [state, bare]);
        println!("{name:24} {state:8.0} {bare:9.0}   × {:.2}", state / bare);
    };
    let states = std::cell::RefCell::new(&mut states);
    let map = std::cell::RefCell::new(&mut map);
    let mut set = |key: &str, number| {
        let result = states.borrow_mut().set(access, key, &value(number));
        result.expect("room");
    };
    let mut insert = |key: &str, number| {
        let mut map = map.borrow_mut();
        map.insert(key.as_bytes().to_vec(), value(number).to_vec());
    };
    row("set, new key", &mut set, &mut insert);
    row("set, same length", &mut set, &mut insert);
    row(
        "get",
        &mut |key, _| {
            let states = states.borrow();
            black_box(states.get(access, key).expect("state").expect("key").value[0]);
        },
        &mut |key, _| {
            black_box(map.borrow().get(key.as_bytes()).expect("key")[0]);
        },
    );
    row(
        "get, no such key",
        &mut |key, _| {
            black_box(states.borrow().exists(access, &key[1..]).expect("state"));
        },
        &mut |key, _| {
            black_box(map.borrow().contains_key(&key.as_bytes()[1..]));
        },
    );
    row(
        "delete",
        &mut |key, _| assert!(states.borrow_mut().delete(access, key).expect("state")),
        &mut |key, _| assert!(map.borrow_mut().remove(key.as_bytes()).is_some()),
    );
}

fn memory(keys: u64) {
    println!("\nbytes per key, payload of 32 included");
    let before = COUNTED.load(Relaxed);
    let (mut states, access) = one_state();
    fill(&mut states, access, keys);
    let held = COUNTED.load(Relaxed) - before;
    println!("state    {:6.1}", held as f64 / keys as f64);
    println!("counted  {:6.1}", states.usage().bytes as f64 / keys as f64);
    drop(states);
    let before = COUNTED.load(Relaxed);
    let map: HashMap<_, _> = (0..keys)
        .map(|number| (key(number).to_vec(), value(number).to_vec()))
        .collect();
    let held = COUNTED.load(Relaxed) - before;
    println!("HashMap  {:6.1}", held as f64 / keys as f64);
    drop(map);
}

fn pauses(keys: u64) {
    println!("\nµs of CPU per call         99.9 %   longest   above 2 ms");
    let (mut states, access) = one_state();
    let mut calls = Calls::default();
    for number in 0..keys {
        calls.time(|| black_box(number));
    }
    calls.print("nothing");
    let mut pages = Vec::new();
    for _ in 0..keys * BYTES_PER_KEY / PAGE_BYTES as u64 {
        calls.time(|| pages.push(black_box(vec![1u8; PAGE_BYTES])));
    }
    calls.print("new memory");
    drop(pages);
    for number in 0..keys {
        let (key, value) = (key(number), value(number));
        calls.time(|| states.set(access, text(&key), &value).expect("room"));
    }
    calls.print("set, growing");
    let mut cursor = None;
    loop {
        let page = calls.time(|| states.list_keys(access, cursor).expect("state"));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    calls.print("list, one page");
    for number in 0..keys / 2 {
        let key = key(number);
        calls.time(|| states.delete(access, text(&key)).expect("state"));
    }
    calls.print("delete, half of them");
    for number in 0..keys {
        let key = key(number);
        calls.time(|| {
            states
                .set(access, text(&key), b"of another length")
                .expect("room")
        });
    }
    calls.print("set, other length");
    calls.time(|| states.delete_state(access.id(), 0).expect("state"));
    calls.print("delete the state");
    free(&mut states, &mut calls);
    calls.print("free, one step");

    let access = new_state(&mut states);
    for number in 0..(keys / 1000).min(5000) {
        let key = key(number);
        calls.time(|| states.set(access, text(&key), LARGE_VALUE).expect("room"));
    }
    calls.print("set, 100 kB");
    states.delete_state(access.id(), 0).expect("state");
    free(&mut states, &mut calls);
    calls.print("free 100 kB, one step");
}

fn free(states: &mut States, calls: &mut Calls) {
    while calls
        .time(|| states.free_some(0, STATE_FREE_STEP_BYTES))
        .is_some()
    {}
}

fn one_state() -> (States, Access) {
    let limits = ShardLimits {
        state_keys_max: LIMITS.keys_max,
        state_bytes_max: LIMITS.bytes_max / 2,
        ..ShardLimits::default()
    };
    let mut random = 1;
    let secret = Secret::new(std::array::from_fn(|_| split_mix(&mut random) as u8));
    let mut states = States::new(ShardNumber(0), ShardLife(0), &limits, secret);
    let access = new_state(&mut states);
    (states, access)
}

fn new_state(states: &mut States) -> Access {
    let seed = COUNTED.load(Relaxed) as u64;
    let id: StateId =
        StateIdSource::new(ShardNumber(0), ShardLife(0), seed).next(SystemTime::now());
    states.create(id, LIMITS, 0).expect("room");
    states.open(id, Mode::Rw, 0).expect("state")
}

fn fill(states: &mut States, access: Access, keys: u64) {
    for number in 0..keys {
        let key = key(number);
        states
            .set(access, text(&key), &value(number))
            .expect("room");
    }
}

/// CPU time per key of both, in turns, so that what else the machine does meets both alike.
fn ns_per_key(keys: u64, mut runs: [Operation<'_>; 2]) -> [f64; 2] {
    let mut spent_ns = [0; 2];
    for first in (0..keys).step_by(TURN_KEYS) {
        for (run, spent_ns) in runs.iter_mut().zip(&mut spent_ns) {
            let start = cpu_ns();
            for number in first..keys.min(first + TURN_KEYS as u64) {
                // Every key once, in another order than they were made: a step by a prime.
                let number = number * 2_654_435_761 % keys;
                run(text(&key(number)), number);
            }
            *spent_ns += cpu_ns() - start;
        }
    }
    spent_ns.map(|spent_ns| spent_ns as f64 / keys as f64)
}

fn key(number: u64) -> [u8; 16] {
    let bits = split_mix(&mut { number });
    std::array::from_fn(|digit| b"0123456789abcdef"[(bits >> (4 * digit)) as usize & 15])
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).expect("hex digits")
}

fn value(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

/// Times of single calls, nanoseconds.
#[derive(Default)]
struct Calls(Vec<u64>);

impl Calls {
    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        // The growth of the list itself is not timed.
        self.0.reserve(1);
        let start = cpu_ns();
        let result = call();
        self.0.push(cpu_ns() - start);
        result
    }

    fn print(&mut self, name: &str) {
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        let above = self.0.iter().filter(|&&ns| ns > PAUSE_NS_MAX).count();
        println!("{name:24} {:8.1} {:9.1} {above:12}", at(0.999), at(1.0));
        self.0.clear();
    }
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

static COUNTED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        COUNTED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `MiMalloc.alloc` or `MiMalloc.realloc` with this layout.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNTED.fetch_add(size, Relaxed);
        COUNTED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as `dealloc`, and the caller keeps the contract for `size`.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

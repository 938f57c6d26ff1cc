//! The ways to misbehave. The functions that trap are kept apart and named, so that a backtrace
//! shows whether the host can read the `name` section.

use std::hint::black_box;

use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::streams;

/// Sends the text of a panic to standard error: without this it would be lost.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|information| {
        let stderr = get_stderr();
        let _ = streams::write_all(&stderr, format!("{information}\n").as_bytes());
        let _ = streams::flush(&stderr);
    }));
}

/// Never returns and never calls the host.
#[inline(never)]
pub(crate) fn spin_forever() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

/// Reaches an `unreachable` instruction through `trap_middle` and `trap_inner`.
#[inline(never)]
pub(crate) fn trap_outer(depth: u32) -> u32 {
    black_box(trap_middle(black_box(depth) + 1)) + 1
}

#[inline(never)]
fn trap_middle(depth: u32) -> u32 {
    black_box(trap_inner(black_box(depth) + 1)) + 1
}

#[inline(never)]
fn trap_inner(depth: u32) -> u32 {
    if black_box(depth) > 0 {
        unreachable_instruction();
    }
    depth
}

/// Panics with a text that names the guest.
#[inline(never)]
pub(crate) fn panic_on_purpose() {
    panic!("the probe was asked to panic");
}

/// Overflows the stack: its own, or the host's if that is the smaller one.
#[inline(never)]
pub(crate) fn overflow_stack(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return depth;
    }
    let frame = black_box([depth; 32]);
    overflow_stack(black_box(depth + 1)) + frame[black_box(7)]
}

/// Allocates and touches memory in blocks until it has `wanted_bytes` or is refused, and tells how
/// many bytes it got.
pub(crate) fn grow(wanted_bytes: u64) -> u64 {
    const BLOCK_BYTES: u64 = 1024 * 1024;
    const PAGE_BYTES: usize = 4096;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut got_bytes = 0;
    while got_bytes < wanted_bytes {
        let length_bytes = BLOCK_BYTES.min(wanted_bytes - got_bytes);
        let Ok(length) = usize::try_from(length_bytes) else {
            break;
        };
        let mut block = Vec::new();
        if blocks.try_reserve(1).is_err() || block.try_reserve_exact(length).is_err() {
            break;
        }
        block.resize(length, 0);
        block.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        blocks.push(black_box(block));
        got_bytes += length_bytes;
    }
    got_bytes
}

#[cfg(target_arch = "wasm32")]
fn unreachable_instruction() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable_instruction() -> ! {
    std::process::abort()
}

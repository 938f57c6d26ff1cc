//! Time as the shard counts it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Monotonic time, nanoseconds since an arbitrary start.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Wall-clock time, nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix time when the monotonic clock stood at zero, nanoseconds. `None` when the two clocks could not be read at
/// the same time: the thread was interrupted in between. Wraps if the wall clock is wrong by decades.
pub(crate) fn unix_offset_ns() -> Option<u64> {
    let before_ns = monotonic_ns();
    let unix_ns = unix_ns();
    let apart_ns = monotonic_ns() - before_ns;
    (apart_ns <= READING_NS_MAX).then(|| unix_ns.wrapping_sub(before_ns + apart_ns / 2))
}

/// Longest time that reading both clocks may take, nanoseconds.
const READING_NS_MAX: u64 = 100_000;

/// Monotonic time to the kernel's tick, which is a few milliseconds; cheaper than [`monotonic_ns`].
pub(crate) fn coarse_ns() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// CPU time of the calling thread, nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

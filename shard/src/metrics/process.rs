//! What the shard's process and its executor's thread tell of themselves.

use std::cell::Cell;
use std::time::Duration;

use crate::clock;
use crate::rt;

/// Seconds for which a stall is told.
const WINDOW_SECONDS: usize = 10;

/// The longest time for which one task kept the executor to itself, for each of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    longest_ns: [Cell<u64>; WINDOW_SECONDS],
    second: Cell<u64>,
}

impl Stalls {
    /// Takes over what has happened since the last look.
    pub(super) fn look(&self) {
        let now = clock::monotonic_ns() / 1_000_000_000;
        let before = self.second.replace(now);
        for passed in (before + 1..=now).take(WINDOW_SECONDS) {
            self.place(passed).set(0);
        }
        let longest_ns = u64::try_from(rt::take_longest_turn().as_nanos()).unwrap_or(u64::MAX);
        let place = self.place(now);
        place.set(place.get().max(longest_ns));
    }

    pub(super) fn longest(&self) -> Duration {
        let longest_ns = self.longest_ns.iter().map(Cell::get).max();
        Duration::from_nanos(longest_ns.unwrap_or_default())
    }

    fn place(&self, second: u64) -> &Cell<u64> {
        &self.longest_ns[(second % WINDOW_SECONDS as u64) as usize]
    }
}

/// The resident memory of this process, bytes.
pub(super) fn resident_bytes() -> Option<i64> {
    // Sizes in pages: the whole, then what is resident (proc_pid_statm(5)).
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

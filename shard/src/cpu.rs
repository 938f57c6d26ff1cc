//! Which CPUs the threads of a shard process use.

use std::sync::OnceLock;

use rustix::thread::CpuSet;

static ALLOWED: OnceLock<CpuSet> = OnceLock::new();

/// Remembers the CPUs this process may use. To be called before any thread is pinned.
pub fn remember_allowed() {
    if let Ok(allowed) = rustix::thread::sched_getaffinity(None) {
        ALLOWED.get_or_init(|| allowed);
    }
}

/// The CPUs this process may use, in order.
#[must_use]
pub fn allowed() -> Vec<usize> {
    remember_allowed();
    ALLOWED.get().map_or_else(Vec::new, |set| {
        (0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect()
    })
}

/// Lets the calling helper thread run on any of the process's CPUs: it was born pinned to the
/// executor's, whose time belongs to tasks.
pub(crate) fn leave_core() {
    if let Some(allowed) = ALLOWED.get()
        && let Err(error) = rustix::thread::sched_setaffinity(None, allowed)
    {
        tracing::debug!(%error, "a helper thread stays on the executor's core");
    }
}

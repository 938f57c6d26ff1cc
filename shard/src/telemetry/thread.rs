//! The exporting thread's place: any core, after everything else.

use std::io;
use std::time::Duration;

use rustix::thread::CpuSet;

/// Nice value of the thread, between 0 (as the executor) and 19 (only when idle).
const NICE: i32 = 10;

/// Takes the calling thread off its creator's core and lowers its priority. Where the system
/// refuses either, exporting works all the same.
pub(super) fn step_back(cpus: &[usize]) {
    let mut set = CpuSet::new();
    // The kernel takes from the set what the process may use.
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).collect();
    for cpu in if cpus.is_empty() { &all } else { cpus } {
        if *cpu < CpuSet::MAX_CPU {
            set.set(*cpu);
        }
    }
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::debug!(%error, "the exporter stays on its shard's core");
    }
    // On Linux, process 0 is the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the exporter keeps its shard's priority");
    }
}

/// The executor of the thread. Threads it starts, for names that need resolving, are as low.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_name("vyr-otlp-names")
        .build()
}

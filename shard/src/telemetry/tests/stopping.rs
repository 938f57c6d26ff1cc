//! The end of an exporter, and the place of its thread.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::CpuSet;
use vyr_core::id::ShardNumber;
use vyr_core::trace::Ring;

use super::super::{ExportTotals, Exporter, ExporterConfig};
use super::sink::{Answer, Sink};
use super::{STEPS, Tasks, quick, wait_for};

#[test]
fn stopping_sends_what_waits_for_its_batch() {
    let sink = Sink::start(&[]);
    let (writer, reader) = Ring::new(64);
    let config = ExporterConfig {
        interval: Duration::from_secs(3600),
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    Tasks::new().write(&writer, 3);
    assert_eq!(sink.requests(), 0);
    handle.stop(Duration::from_secs(10));
    let end = Instant::now() + Duration::from_secs(10);
    while !handle.is_stopped() {
        assert!(Instant::now() < end, "the thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        handle.totals(),
        ExportTotals {
            exported: 3 * STEPS,
            ..ExportTotals::default()
        }
    );
}

#[test]
fn a_hung_collector_does_not_hold_up_the_stop() {
    let sink = Sink::start(&[Answer::Hang; 8]);
    let (writer, reader) = Ring::new(64);
    let config = ExporterConfig {
        timeout: Duration::from_secs(60),
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    let mut tasks = Tasks::new();
    tasks.write(&writer, 1);
    sink.wait_for_requests(1);
    tasks.write(&writer, 2);
    let start = Instant::now();
    let totals = handle.flush_and_stop(Duration::from_millis(100));
    assert!(
        start.elapsed() < Duration::from_millis(1100),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        totals,
        ExportTotals {
            dropped_export: 3 * STEPS,
            ..ExportTotals::default()
        }
    );
}

#[test]
fn letting_go_of_the_handle_ends_the_thread() {
    let sink = Sink::start(&[Answer::Hang]);
    let (writer, reader) = Ring::new(64);
    let mut config = quick(&sink.endpoint());
    config.timeout = Duration::from_secs(60);
    config.shard = ShardNumber(78);
    let handle = Exporter::start(config, reader).expect("it starts");
    Tasks::new().write(&writer, 1);
    sink.wait_for_requests(1);
    assert!(thread("vyr-otlp-78").is_some());
    drop(handle);
    let end = Instant::now() + Duration::from_secs(10);
    while thread("vyr-otlp-78").is_some() {
        assert!(Instant::now() < end, "the thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The thread of this process with this name.
fn thread(name: &str) -> Option<Pid> {
    let entries = std::fs::read_dir("/proc/self/task").expect("Linux shows threads");
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let has_name = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|found| found.trim() == name)
    };
    let path = paths.into_iter().find(has_name)?;
    path.file_name()?
        .to_str()?
        .parse()
        .ok()
        .and_then(Pid::from_raw)
}

#[test]
fn the_thread_leaves_its_creators_core_and_steps_back() {
    let sink = Sink::start(&[Answer::Hang]);
    let (writer, reader) = Ring::new(64);
    let before = rustix::thread::sched_getaffinity(None).expect("the affinity can be read");
    let mut one = CpuSet::new();
    one.set(
        (0..CpuSet::MAX_CPU)
            .find(|cpu| before.is_set(*cpu))
            .expect("a CPU"),
    );
    let mut config = quick(&sink.endpoint());
    config.shard = ShardNumber(77);
    let handle = std::thread::spawn(move || {
        rustix::thread::sched_setaffinity(None, &one).expect("a thread may be bound");
        Exporter::start(config, reader).expect("it starts")
    })
    .join()
    .expect("the exporter starts from a bound thread");
    Tasks::new().write(&writer, 1);
    sink.wait_for_requests(1);

    let id = thread("vyr-otlp-77").expect("the thread has its name");
    let affinity = rustix::thread::sched_getaffinity(Some(id)).expect("the affinity can be read");
    assert_eq!(affinity.count(), before.count());
    let nice = rustix::process::getpriority_process(Some(id)).expect("the priority can be read");
    assert_eq!(nice, 10);
    let own = rustix::process::getpriority_process(None).expect("the priority can be read");
    assert!(own < 10, "only the exporter's thread stepped back");
    wait_for(&handle, "export", |totals| totals.exported == STEPS);
}

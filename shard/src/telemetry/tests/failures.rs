//! Collectors that are down, slow or wrong: nothing is lost without being counted.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use vyr_core::metrics::Snapshot;
use vyr_core::trace::Ring;

use super::super::{ExportTotals, Exporter, ExporterConfig};
use super::sink::{Answer, Sink};
use super::{STEPS, Tasks, quick, wait_for};

const FLUSH: Duration = Duration::from_secs(20);

#[test]
fn a_collector_that_comes_back_in_time_loses_nothing() {
    for bad in [
        Answer::Status(503),
        Answer::Status(429),
        Answer::Close,
        Answer::Hang,
        Answer::Babble,
    ] {
        let sink = Sink::start(&[bad, bad]);
        let (writer, reader) = Ring::new(64);
        let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
        Tasks::new().write(&writer, 2);
        let totals = handle.flush_and_stop(FLUSH);
        assert_eq!(
            totals,
            ExportTotals {
                exported: 2 * STEPS,
                ..ExportTotals::default()
            },
            "{bad:?}"
        );
        assert_eq!(sink.spans().len() as u64, 2 * STEPS, "{bad:?}");
        assert!(sink.requests() >= 3, "{bad:?}");
    }
}

#[test]
fn the_pause_that_a_collector_asks_for_is_kept() {
    let sink = Sink::start(&[Answer::Throttle(1)]);
    let (writer, reader) = Ring::new(64);
    let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
    let start = Instant::now();
    Tasks::new().write(&writer, 1);
    let totals = handle.flush_and_stop(FLUSH);
    assert_eq!((totals.exported, totals.dropped_export), (STEPS, 0));
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_refused_batch_is_counted_and_the_next_is_sent() {
    for status in [500, 400, 401, 404, 302] {
        let sink = Sink::start(&[Answer::Status(status)]);
        let (writer, reader) = Ring::new(64);
        let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
        let mut tasks = Tasks::new();
        tasks.write(&writer, 1);
        wait_for(&handle, "drop", |totals| totals.dropped_export == STEPS);
        assert_eq!(sink.requests(), 1, "{status} is final");
        tasks.write(&writer, 3);
        let totals = handle.flush_and_stop(FLUSH);
        let wanted = ExportTotals {
            exported: 3 * STEPS,
            dropped_export: STEPS,
            ..ExportTotals::default()
        };
        assert_eq!(totals, wanted, "{status}");
        assert_eq!(sink.spans().len() as u64, totals.exported, "{status}");
    }
}

#[test]
fn spans_rejected_from_an_accepted_batch_are_counted() {
    for (rejected, dropped) in [(2, 2), (i64::MAX, STEPS), (-1, 0)] {
        let sink = Sink::start(&[Answer::Reject(rejected)]);
        let (writer, reader) = Ring::new(64);
        let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
        Tasks::new().write(&writer, 1);
        let totals = handle.flush_and_stop(FLUSH);
        assert_eq!(
            (totals.exported, totals.dropped_export),
            (STEPS - dropped, dropped)
        );
    }
}

#[test]
fn a_collector_that_is_down_costs_counted_records_and_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    drop(listener);
    let (writer, reader) = Ring::new(64);
    let handle = Exporter::start(quick(&format!("http://{address}")), reader).expect("it starts");
    let mut tasks = Tasks::new();
    tasks.write(&writer, 4);
    wait_for(&handle, "drop", |totals| totals.dropped_export == 4 * STEPS);
    let listener = TcpListener::bind(address).expect("the port is still free");
    let sink = Sink::start_on(listener, &[]);
    tasks.write(&writer, 5);
    let totals = handle.flush_and_stop(FLUSH);
    assert_eq!(
        (totals.exported, totals.dropped_export),
        (5 * STEPS, 4 * STEPS)
    );
    assert_eq!(sink.spans().len() as u64, 5 * STEPS);
}

#[test]
fn behind_a_hung_collector_queue_and_ring_fill_and_the_rest_is_dropped() {
    const RING: usize = 60;
    const QUEUE: usize = 120;
    let sink = Sink::start(&[Answer::Hang; 3]);
    let (writer, reader) = Ring::new(RING);
    let config = ExporterConfig {
        batch_records_max: 30,
        queue_records_max: QUEUE,
        timeout: Duration::from_secs(1),
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    let mut tasks = Tasks::new();
    tasks.write(&writer, 1);
    sink.wait_for_requests(1);
    // What can be held now: the queue and the ring, while the first batch hangs.
    let mut made = STEPS;
    while writer.dropped() == 0 {
        assert!(made < 10_000, "{:?}", handle.totals());
        tasks.write(&writer, 1);
        made += STEPS;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(writer.written() + writer.dropped(), made);
    assert!(
        writer.written() <= STEPS + (QUEUE + RING) as u64,
        "memory is bounded"
    );
    assert_eq!(handle.totals().dropped_ring, writer.dropped());
    let totals = handle.flush_and_stop(FLUSH);
    assert_eq!(
        totals.exported + totals.dropped_export + totals.dropped_ring,
        made,
        "{totals:?}"
    );
    assert_eq!(
        totals.dropped_export, STEPS,
        "the batch that hung three times"
    );
    assert_eq!(sink.spans().len() as u64, totals.exported);
}

#[test]
fn under_load_with_a_failing_collector_every_record_is_counted_once() {
    const TASKS: u64 = 20_000;
    let answers: Vec<Answer> = (0..500)
        .map(|turn| match turn % 5 {
            0 => Answer::Status(500),
            1 => Answer::Status(503),
            2 => Answer::Reject(7),
            3 => Answer::Babble,
            _ => Answer::Accept,
        })
        .collect();
    let sink = Sink::start(&answers);
    let (writer, reader) = Ring::new(512);
    let config = ExporterConfig {
        batch_records_max: 256,
        queue_records_max: 1024,
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    let mut tasks = Tasks::new();
    for _ in 0..TASKS / 20 {
        tasks.write(&writer, 20);
        std::thread::sleep(Duration::from_micros(200));
    }
    let totals = handle.flush_and_stop(FLUSH);
    let ExportTotals {
        exported,
        dropped_ring,
        dropped_export,
    } = totals;
    assert_eq!(
        exported + dropped_ring + dropped_export,
        TASKS * STEPS,
        "{totals:?}"
    );
    assert_eq!(
        (writer.written(), writer.dropped()),
        (exported + dropped_export, dropped_ring)
    );
    assert!(exported > 0 && dropped_export > 0, "{totals:?}");
}

#[test]
fn metrics_that_hang_delay_no_trace() {
    let sink = Sink::start(&[]);
    sink.answer_metrics(Answer::Hang);
    let (writer, reader) = Ring::new(64);
    let config = ExporterConfig {
        timeout: Duration::from_secs(60),
        ..quick(&sink.endpoint())
    };
    let handle = Exporter::start(config, reader).expect("it starts");
    handle.offer_metrics(Snapshot::default());
    until(|| sink.metrics_requests() == 1);
    let mut tasks = Tasks::new();
    for sent in 1..=3 {
        tasks.write(&writer, 1);
        wait_for(&handle, "export", |totals| totals.exported == sent * STEPS);
    }
    assert_eq!(sink.metrics_requests(), 1, "it still hangs");
    let totals = handle.flush_and_stop(Duration::from_millis(100));
    assert_eq!((totals.exported, totals.dropped_export), (3 * STEPS, 0));
}

#[test]
fn metrics_that_nobody_takes_are_tried_once_and_the_last_before_the_end() {
    for bad in [Answer::Status(404), Answer::Status(503)] {
        let sink = Sink::start(&[]);
        sink.answer_metrics(bad);
        let (writer, reader) = Ring::new(64);
        let handle = Exporter::start(quick(&sink.endpoint()), reader).expect("it starts");
        for offered in 1..=3 {
            handle.offer_metrics(Snapshot::default());
            until(|| sink.metrics_requests() == offered);
        }
        Tasks::new().write(&writer, 2);
        handle.offer_metrics(Snapshot::default());
        let totals = handle.flush_and_stop(FLUSH);
        assert_eq!((totals.exported, totals.dropped_export), (2 * STEPS, 0));
        assert_eq!(sink.metrics_requests(), 4, "{bad:?}");
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + FLUSH;
    while !condition() {
        assert!(Instant::now() < end, "in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

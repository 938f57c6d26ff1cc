//! What is measured, and what it is charged to.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vyr_bench::{Address, Arrivals, Load, Pace, Report, quantile_us, run};

use crate::server::{Next, OK, over_tcp, over_unix};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const TIME_OUT: Duration = Duration::from_secs(2);
const MS: f64 = 1000.0;

fn load(address: Address, connections: usize, pace: Pace) -> Load {
    Load {
        address,
        connections,
        pace,
        time_out: TIME_OUT,
    }
}

fn open(rate_rps: f64, duration_ms: u64) -> Pace {
    Pace::Open {
        rate_rps,
        arrivals: Arrivals::Constant,
        duration: Duration::from_millis(duration_ms),
    }
}

fn measure(address: SocketAddr, connections: usize, pace: Pace) -> Report {
    let load = load(Address::Tcp(address), connections, pace);
    run(&load, |_| REQUEST, |_, _, _| {}).expect("the server can be reached")
}

#[test]
fn a_stall_is_charged_to_all_that_was_due_meanwhile() {
    let address = over_tcp(|_, request, out| {
        if request == 20 {
            std::thread::sleep(Duration::from_millis(200));
        }
        out.write_all(OK).map_or(Next::Close, |()| Next::Keep)
    });
    let report = measure(address, 1, open(100.0, 1000));
    assert_eq!((report.requests, report.errors()), (100, 0));
    // Only one request was under way while the server stalled; the twenty that were due waited for
    // it, each a little less.
    let slow = report
        .response_ns
        .count_between(50_000_000, report.response_ns.max());
    assert!((12..60).contains(&slow), "{slow} requests waited");
    assert!(quantile_us(&report.response_ns, 0.99) > 150.0 * MS);
    let service = report
        .service_ns
        .count_between(150_000_000, report.service_ns.max());
    assert_eq!(service, 1, "requests that were slow to serve");
}

#[test]
fn a_request_without_an_answer_is_the_worst_there_is() {
    let address = over_tcp(|connection, _, out| {
        if connection == 0 {
            return Next::Close;
        }
        out.write_all(OK).map_or(Next::Close, |()| Next::Keep)
    });
    let report = measure(address, 1, Pace::Closed { requests: 50 });
    assert_eq!((report.requests, report.failed), (50, 1));
    assert_eq!(report.failures[0].request, 0);
    for histogram in [&report.response_ns, &report.service_ns] {
        assert_eq!(histogram.len(), 50);
        assert!(quantile_us(histogram, 1.0) >= 0.99 * TIME_OUT.as_micros() as f64);
    }
    assert_eq!(report.accepted_ns.len(), 49);
}

#[test]
fn an_answer_that_never_comes_times_out() {
    let address = over_tcp(|connection, _, out| {
        if connection > 0 {
            out.write_all(OK).expect("a connection");
        }
        Next::Keep
    });
    let load = Load {
        time_out: Duration::from_millis(100),
        ..load(Address::Tcp(address), 1, Pace::Closed { requests: 3 })
    };
    let report = run(&load, |_| REQUEST, |_, _, _| {}).expect("a server");
    assert_eq!((report.failed, report.succeeded()), (1, 2));
    let max_ms = quantile_us(&report.response_ns, 1.0) / MS;
    assert!(max_ms >= 99.9, "{max_ms} ms");
}

#[test]
fn a_fast_refusal_is_no_fast_answer() {
    let address = over_tcp(|_, request, out| {
        let answer = if request % 2 == 0 {
            OK
        } else {
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        };
        out.write_all(answer).map_or(Next::Close, |()| Next::Keep)
    });
    let report = measure(address, 1, Pace::Closed { requests: 100 });
    assert_eq!((report.statuses[&200], report.statuses[&503]), (50, 50));
    assert_eq!((report.errors(), report.failed), (50, 0));
    let worst_us = 0.99 * TIME_OUT.as_micros() as f64;
    assert!(quantile_us(&report.response_ns, 0.75) > worst_us);
    assert!(quantile_us(&report.service_ns, 0.75) > worst_us);
    assert_eq!(report.accepted_service_ns.len(), 50);
    assert!(quantile_us(&report.accepted_service_ns, 1.0) < worst_us);
}

#[test]
fn a_generator_that_is_late_says_so() {
    let address = over_tcp(|_, _, out| out.write_all(OK).map_or(Next::Close, |()| Next::Keep));
    let load = load(Address::Tcp(address), 4, open(1000.0, 200));
    let make_late = |_| {
        std::thread::sleep(Duration::from_millis(5));
        REQUEST
    };
    let report = run(&load, make_late, |_, _, _| {}).expect("a server");
    let reason = report.void().expect("void");
    assert!(reason.contains("late"), "{reason}");
}

#[test]
fn waiting_for_a_free_connection_does_not_make_a_run_void() {
    let address = over_tcp(|_, _, out| {
        std::thread::sleep(Duration::from_millis(20));
        out.write_all(OK).map_or(Next::Close, |()| Next::Keep)
    });
    let report = measure(address, 1, open(200.0, 300));
    // The server takes 20 ms for what is due every 5 ms, and is charged for it.
    assert!(quantile_us(&report.response_ns, 0.9) > 200.0 * MS);
    // On a busy machine the generator may be late for reasons of its own, but never by so much.
    assert!(quantile_us(&report.late_ns, 0.5) < 20.0 * MS);
}

#[test]
fn connections_take_turns() {
    let address = over_tcp(|connection, _, out| {
        let answer =
            format!("HTTP/1.1 200 OK\r\nvyr-task-id: {connection}\r\ncontent-length: 0\r\n\r\n");
        out.write_all(answer.as_bytes())
            .map_or(Next::Close, |()| Next::Keep)
    });
    let seen = RefCell::new(BTreeSet::new());
    // Far below what one connection could carry.
    let load = load(Address::Tcp(address), 8, open(200.0, 200));
    let note = |_, answer: &vyr_bench::Answer, _| {
        seen.borrow_mut().insert(answer.task_id.clone());
    };
    run(&load, |_| REQUEST, note).expect("a server");
    assert_eq!(seen.borrow().len(), 8);
}

#[test]
fn a_connection_that_the_server_ends_is_made_anew_without_an_error() {
    const BODIES: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nup to the end of the connection",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ];
    let connections = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&connections);
    let address = over_tcp(move |connection, _, out| {
        seen.fetch_add(1, Ordering::Relaxed);
        out.write_all(BODIES[connection % BODIES.len()])
            .expect("a connection");
        Next::Close
    });
    let report = measure(address, 2, Pace::Closed { requests: 60 });
    assert_eq!((report.succeeded(), report.failed), (60, 0));
    assert!(connections.load(Ordering::Relaxed) >= 60);
}

#[test]
fn a_server_that_goes_away_fails_requests_and_not_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let accepted = listener.accept().expect("a connection");
        drop((listener, accepted));
    });
    let report = measure(address, 1, Pace::Closed { requests: 20 });
    assert_eq!((report.requests, report.failed), (20, 20));
    let last = &report.failures[report.failures.len() - 1].error;
    assert_eq!(last.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn chunked_answers_over_unix_sockets_are_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = over_unix(&dir.path().join("socket"), |_, _, out| {
        let pieces: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
            b"llo\r\n6\r\n world\r\n",
            b"0\r\n\r\n",
        ];
        for piece in pieces {
            out.write_all(piece).expect("a connection");
            out.flush().expect("a connection");
        }
        Next::Keep
    });
    let load = load(address, 2, Pace::Closed { requests: 40 });
    let bytes = RefCell::new(0);
    let count = |_, answer: &vyr_bench::Answer, _| *bytes.borrow_mut() += answer.body_bytes;
    let report = run(&load, |_| REQUEST, count).expect("a server");
    assert_eq!(report.succeeded(), 40);
    assert_eq!(*bytes.borrow(), 40 * 11);
}

#[test]
fn runs_are_merged_sample_by_sample() {
    let address = over_tcp(|_, _, out| out.write_all(OK).map_or(Next::Close, |()| Next::Keep));
    let mut report = measure(address, 1, Pace::Closed { requests: 10 });
    let max_ns = report.response_ns.max();
    let other = measure(address, 1, Pace::Closed { requests: 30 });
    let other_max_ns = other.response_ns.max();
    report.merge(other);
    assert_eq!((report.requests, report.succeeded()), (40, 40));
    assert_eq!(report.response_ns.len(), 40);
    assert_eq!(report.response_ns.max(), max_ns.max(other_max_ns));
}

//! Closed-loop load: each connection sends its next request when the last one is answered.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::connection::{Answer, Connection};

/// How to load a server.
#[derive(Debug, Clone, Copy)]
pub struct ClosedLoop {
    /// The server.
    pub address: SocketAddr,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// Requests in all.
    pub requests: u64,
    /// When to give up.
    pub time_max: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Answered requests, whatever their status.
    pub answered: u64,
    /// Requests without an answer; each is in the histogram with the time it was waited for.
    pub failures: Vec<Failure>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Latency of every request, nanoseconds.
    pub latency_ns: Histogram<u64>,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Failure {
    /// The number of the request, from 0.
    pub request: u64,
    /// What happened.
    pub error: io::Error,
}

/// A histogram for latencies: nanoseconds up to an hour, three significant digits.
///
/// # Panics
/// Never: the bounds are constants that the histogram accepts.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds are valid")
}

struct Slot {
    connection: Connection,
    /// The request under way, and when it was sent.
    request: Option<(u64, Instant)>,
}

/// Sends `requests` requests, made by `request` from their number, and shows each answer with its
/// latency to `answered`.
///
/// # Errors
/// When the first connections cannot be made. A later one that breaks is a [`Failure`] and opened
/// again.
pub fn closed_loop(
    config: &ClosedLoop,
    mut request: impl FnMut(u64) -> Vec<u8>,
    mut answered: impl FnMut(u64, &Answer, Duration),
) -> io::Result<Report> {
    let open = || {
        Connection::open(config.address).map(|connection| Slot {
            connection,
            request: None,
        })
    };
    let mut slots: Vec<Slot> = (0..config.connections)
        .map(|_| open())
        .collect::<io::Result<_>>()?;
    let mut report = Report {
        answered: 0,
        failures: Vec::new(),
        elapsed: Duration::ZERO,
        latency_ns: latency_histogram(),
    };
    let started = Instant::now();
    let mut next = 0;
    let mut done = 0;
    while done < config.requests {
        let out_of_time = started.elapsed() > config.time_max;
        for slot in &mut slots {
            let outcome = match slot.request {
                None if next == config.requests => continue,
                None => {
                    slot.request = Some((next, Instant::now()));
                    next += 1;
                    slot.connection.send(&request(next - 1)).map(|()| None)
                }
                Some(_) if out_of_time => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
                }
                Some(_) => slot.connection.poll(),
            };
            let Some((number, sent)) = slot.request else {
                continue;
            };
            match outcome {
                Ok(None) => continue,
                Ok(Some(answer)) => {
                    let latency = sent.elapsed();
                    record(&mut report.latency_ns, latency);
                    report.answered += 1;
                    answered(number, &answer, latency);
                    slot.request = None;
                }
                Err(error) => {
                    record(&mut report.latency_ns, sent.elapsed());
                    report.failures.push(Failure {
                        request: number,
                        error,
                    });
                    *slot = open()?;
                }
            }
            done += 1;
        }
        if out_of_time {
            break;
        }
        std::hint::spin_loop();
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

//! What came of a load, and whether its latencies mean anything.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::latency::latency_histogram;

/// Failures that are kept with their reasons; the others are counted.
const FAILURES_MAX: usize = 16;
/// A run is void when the generator looked at its schedule later than this for one request in a
/// hundred: then it measures itself.
const LATE_MAX: Duration = Duration::from_micros(200);
/// The share of a latency beyond p99 that may be the generator's own lateness.
const TAIL_SHARE_MAX: f64 = 0.25;

/// What came of a load. Latencies are nanoseconds.
#[derive(Debug)]
pub struct Report {
    /// Requests that were due.
    pub requests: u64,
    /// Answers by their status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From due to answered, of every request; one that failed, or whose answer was no success,
    /// counts with its time-out or more.
    pub response_ns: Histogram<u64>,
    /// From sent to answered, of every request; likewise.
    pub service_ns: Histogram<u64>,
    /// From due to answered, of the answers with a status of success (2xx) only.
    pub accepted_ns: Histogram<u64>,
    /// From sent to answered, of the answers with a status of success (2xx) only.
    pub accepted_service_ns: Histogram<u64>,
    /// From due to when the generator looked.
    pub late_ns: Histogram<u64>,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Failure {
    /// The number of the request, from 0.
    pub request: u64,
    /// What happened.
    pub error: io::Error,
}

impl Report {
    pub(crate) fn empty() -> Self {
        Self {
            requests: 0,
            statuses: BTreeMap::new(),
            failed: 0,
            failures: Vec::new(),
            elapsed: Duration::ZERO,
            response_ns: latency_histogram(),
            service_ns: latency_histogram(),
            accepted_ns: latency_histogram(),
            accepted_service_ns: latency_histogram(),
            late_ns: latency_histogram(),
        }
    }

    pub(crate) fn keep_failure(&mut self, request: u64, error: io::Error) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(Failure { request, error });
        }
    }

    /// Adds another run of the same load, sample by sample: percentiles are never averaged.
    pub fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
        self.elapsed += other.elapsed;
        // Histograms of the same bounds can always be added.
        self.response_ns += other.response_ns;
        self.service_ns += other.service_ns;
        self.accepted_ns += other.accepted_ns;
        self.accepted_service_ns += other.accepted_service_ns;
        self.late_ns += other.late_ns;
    }

    /// Answers with a status of success.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.statuses
            .iter()
            .filter(|(status, _)| (200..300).contains(*status))
            .map(|(_, count)| count)
            .sum()
    }

    /// Requests without an answer, or with one that is no success.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.requests - self.succeeded()
    }

    /// Successful answers per second.
    #[must_use]
    pub fn succeeded_rps(&self) -> f64 {
        self.succeeded() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Why the latencies mean nothing, if so: the generator itself fell behind.
    #[must_use]
    pub fn void(&self) -> Option<String> {
        let late = Duration::from_nanos(self.late_ns.value_at_quantile(0.99));
        (late > LATE_MAX).then(|| {
            format!(
                "the generator was {} µs late for one request in a hundred (at most {} µs are allowed); \
                 give it a processor of its own, or a lower rate",
                late.as_micros(),
                LATE_MAX.as_micros()
            )
        })
    }

    /// Why the latencies from p99.9 on mean nothing, if so, though those up to p99 may.
    #[must_use]
    pub fn void_tail(&self) -> Option<String> {
        let late = Duration::from_nanos(self.late_ns.value_at_quantile(0.999));
        let response = Duration::from_nanos(self.response_ns.value_at_quantile(0.999));
        let is_void = late > LATE_MAX && late > response.mul_f64(TAIL_SHARE_MAX);
        is_void.then(|| {
            format!(
                "p99.9 and above are the generator's own: it was {} µs late for one request in a thousand, \
                 and p99.9 is {} µs",
                late.as_micros(),
                response.as_micros()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::record;

    /// A thousand requests, of which `late` found the generator late by 5 ms.
    fn report(late: u64, slowest: Duration) -> Report {
        let mut report = Report::empty();
        for number in 0..1000 {
            let (lateness, response) = if number < late {
                (Duration::from_millis(5), slowest)
            } else {
                (Duration::from_micros(2), Duration::from_micros(300))
            };
            record(&mut report.late_ns, lateness);
            record(&mut report.response_ns, response);
        }
        report
    }

    #[test]
    fn lateness_voids_what_it_touches() {
        let ms = Duration::from_millis;
        let fine = report(0, ms(6));
        assert!(fine.void().is_none() && fine.void_tail().is_none());
        let late_sometimes = report(5, ms(6));
        assert!(late_sometimes.void().is_none());
        assert!(late_sometimes.void_tail().is_some());
        let late_beside_something_slower = report(5, ms(60));
        assert!(late_beside_something_slower.void_tail().is_none());
        assert!(report(50, ms(60)).void().is_some());
    }
}

//! The generator: one thread that spins over its connections and the schedule.
//!
//! Open loop: requests are due by a schedule, whether or not the server keeps up. The *response
//! time* of a request counts from the moment it was due, so a server that stalls is charged for
//! everything that waited meanwhile (no coordinated omission); its *service time* counts from the
//! moment it was sent. Closed loop: each connection sends when its last request was answered.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::connection::{Answer, Connection};
use crate::latency::{latency_histogram, record};
use crate::schedule::{Arrivals, Schedule};
use crate::url::Address;

/// Failures that are kept with their reasons; the others are counted.
const FAILURES_MAX: usize = 16;
/// A run is void when the generator looked at its schedule later than this for one request in a
/// hundred: then it measures itself.
const LATE_MAX: Duration = Duration::from_micros(200);
/// Ready connections that one look takes up.
const EVENTS_MAX: usize = 256;

/// How requests follow each other.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The next when the last is answered, on each connection; so many in all.
    Closed {
        /// Requests in all.
        requests: u64,
    },
    /// By a schedule.
    Open {
        /// Requests per second.
        rate_rps: f64,
        /// How they are spread.
        arrivals: Arrivals,
        /// How long.
        duration: Duration,
    },
}

/// How to load a server.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub address: Address,
    /// Connections, each with at most one request under way.
    pub connections: usize,
    /// How requests follow each other.
    pub pace: Pace,
    /// A request without an answer after this time has failed, and counts with at least this time.
    pub time_out: Duration,
}

/// What came of it. Latencies are nanoseconds.
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
    /// From due to answered, of every request; one that failed counts with its time-out or more.
    pub response_ns: Histogram<u64>,
    /// From sent to answered, of every request.
    pub service_ns: Histogram<u64>,
    /// Response time of the answers with a status of success (2xx) only.
    pub accepted_ns: Histogram<u64>,
    /// From due to when the generator looked.
    pub late_ns: Histogram<u64>,
}

impl Report {
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
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Failure {
    /// The number of the request, from 0.
    pub request: u64,
    /// What happened.
    pub error: io::Error,
}

/// A request under way.
struct Pending {
    number: u64,
    due: Instant,
    sent: Instant,
}

struct Slot {
    connection: Connection,
    pending: Option<Pending>,
}

struct Generator<'a, A> {
    load: &'a Load,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<usize>,
    report: Report,
    answered: A,
}

/// Loads a server: each request's bytes come from `request` by its number, and each answer is shown
/// to `answered` with its number and service time.
///
/// # Errors
/// When the first connections cannot be made. One that breaks later is a [`Failure`] and opened
/// again.
pub fn run<R: AsRef<[u8]>>(
    load: &Load,
    request: impl Fn(u64) -> R,
    answered: impl FnMut(u64, &Answer, Duration),
) -> io::Result<Report> {
    let mut generator = Generator::new(load, answered)?;
    let started = Instant::now();
    match load.pace {
        Pace::Closed { requests } => generator.closed(requests, &request)?,
        Pace::Open {
            rate_rps,
            arrivals,
            duration,
        } => {
            let schedule = Schedule::new(arrivals, rate_rps);
            generator.open(schedule, started, duration, &request)?;
        }
    }
    generator.report.elapsed = started.elapsed();
    Ok(generator.report)
}

impl<A: FnMut(u64, &Answer, Duration)> Generator<'_, A> {
    fn new(load: &Load, answered: A) -> io::Result<Generator<'_, A>> {
        let mut generator = Generator {
            load,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            free: (0..load.connections).rev().collect(),
            report: Report {
                requests: 0,
                statuses: BTreeMap::new(),
                failed: 0,
                failures: Vec::new(),
                elapsed: Duration::ZERO,
                response_ns: latency_histogram(),
                service_ns: latency_histogram(),
                accepted_ns: latency_histogram(),
                late_ns: latency_histogram(),
            },
            answered,
        };
        for slot in 0..load.connections {
            let connection = generator.connect(slot)?;
            generator.slots.push(Slot {
                connection,
                pending: None,
            });
        }
        Ok(generator)
    }

    fn connect(&self, slot: usize) -> io::Result<Connection> {
        let connection = Connection::open(&self.load.address)?;
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, &connection, data, epoll::EventFlags::IN)?;
        Ok(connection)
    }

    fn closed<R: AsRef<[u8]>>(
        &mut self,
        requests: u64,
        request: &impl Fn(u64) -> R,
    ) -> io::Result<()> {
        while self.report.requests < requests || self.is_busy() {
            while self.report.requests < requests
                && let Some(slot) = self.free.pop()
            {
                self.send(slot, Instant::now(), request)?;
            }
            self.collect()?;
        }
        Ok(())
    }

    fn open<R: AsRef<[u8]>>(
        &mut self,
        mut schedule: Schedule,
        started: Instant,
        duration: Duration,
        request: &impl Fn(u64) -> R,
    ) -> io::Result<()> {
        let mut waiting = VecDeque::new();
        let mut next = schedule.next().unwrap_or_default();
        loop {
            let now = Instant::now();
            while next < duration && started + next <= now {
                record(&mut self.report.late_ns, now - (started + next));
                waiting.push_back(started + next);
                next = schedule.next().unwrap_or(duration);
            }
            while let Some(&due) = waiting.front()
                && let Some(slot) = self.free.pop()
            {
                waiting.pop_front();
                self.send(slot, due, request)?;
            }
            self.collect()?;
            if next >= duration && waiting.is_empty() && !self.is_busy() {
                return Ok(());
            }
            // Those that never got a connection have waited in vain.
            while let Some(&due) = waiting.front()
                && now.saturating_duration_since(due) > self.load.time_out
            {
                waiting.pop_front();
                let number = self.report.requests;
                self.report.requests += 1;
                let error =
                    io::Error::new(io::ErrorKind::TimedOut, "no connection was free in time");
                self.fail(number, due, due, error);
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.free.len() < self.slots.len()
    }

    fn send<R: AsRef<[u8]>>(
        &mut self,
        slot: usize,
        due: Instant,
        request: &impl Fn(u64) -> R,
    ) -> io::Result<()> {
        let number = self.report.requests;
        self.report.requests += 1;
        let sent = Instant::now();
        self.slots[slot].pending = Some(Pending { number, due, sent });
        if let Err(error) = self.slots[slot].connection.send(request(number).as_ref()) {
            self.give_up(slot, error)?;
        }
        Ok(())
    }

    /// Takes what has come, goes on with what could not be sent at once, and gives up on what takes
    /// too long.
    fn collect(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let no_wait = rustix::event::Timespec::default();
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&no_wait),
        )?;
        for event in &events {
            let slot = event.data.u64() as usize;
            self.poll(slot)?;
        }
        for slot in 0..self.slots.len() {
            let Some(pending) = &self.slots[slot].pending else {
                continue;
            };
            if pending.sent.elapsed() > self.load.time_out {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                self.give_up(slot, error)?;
            } else if self.slots[slot].connection.is_sending() {
                self.poll(slot)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, slot: usize) -> io::Result<()> {
        let answer = match self.slots[slot].connection.poll() {
            Ok(None) => return Ok(()),
            Ok(Some(answer)) => answer,
            Err(error) => return self.give_up(slot, error),
        };
        let Some(pending) = self.slots[slot].pending.take() else {
            return Ok(());
        };
        let now = Instant::now();
        let (response, service) = (now - pending.due, now - pending.sent);
        let report = &mut self.report;
        *report.statuses.entry(answer.status).or_default() += 1;
        record(&mut report.service_ns, service);
        if (200..300).contains(&answer.status) {
            record(&mut report.response_ns, response);
            record(&mut report.accepted_ns, response);
        } else {
            // An answer that is no success is no fast one.
            record(&mut report.response_ns, response.max(self.load.time_out));
        }
        (self.answered)(pending.number, &answer, service);
        self.free.push(slot);
        Ok(())
    }

    /// The request of this connection has failed; another connection takes its place.
    fn give_up(&mut self, slot: usize, error: io::Error) -> io::Result<()> {
        self.slots[slot].connection = self.connect(slot)?;
        if let Some(pending) = self.slots[slot].pending.take() {
            self.fail(pending.number, pending.due, pending.sent, error);
            self.free.push(slot);
        }
        Ok(())
    }

    fn fail(&mut self, request: u64, due: Instant, sent: Instant, error: io::Error) {
        let worst = |since: Instant| since.elapsed().max(self.load.time_out);
        record(&mut self.report.response_ns, worst(due));
        record(&mut self.report.service_ns, worst(sent));
        self.report.failed += 1;
        if self.report.failures.len() < FAILURES_MAX {
            self.report.failures.push(Failure { request, error });
        }
    }
}

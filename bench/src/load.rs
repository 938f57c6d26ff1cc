//! The generator: one thread that spins over its connections and the schedule.
//!
//! Open loop: requests are due by a schedule, whether or not the server keeps up. The *response
//! time* of a request counts from the moment it was due, so a server that stalls is charged for
//! everything that waited meanwhile (no coordinated omission); its *service time* counts from the
//! moment it was sent. Closed loop: each connection sends when its last request was answered.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fd::OwnedFd;

use crate::connection::{Answer, Connection};
use crate::latency::record;
use crate::outcome::Report;
use crate::schedule::{Arrivals, Schedule};
use crate::url::Address;

/// Ready connections that one look takes up.
const EVENTS_MAX: usize = 256;
/// How often time-outs are looked for.
const TIME_OUT_PERIOD: Duration = Duration::from_millis(1);

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

/// A request under way.
struct Pending {
    number: u64,
    due: Instant,
    sent: Instant,
}

struct Slot {
    /// Absent while none can be made.
    connection: Option<Connection>,
    pending: Option<Pending>,
}

struct Generator<'a, A> {
    load: &'a Load,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    slots: Vec<Slot>,
    /// Those without a request under way, the one that has been idle for longest first: a server
    /// that spreads connections over its cores gets its load spread.
    free: VecDeque<usize>,
    /// Those whose request is not yet sent whole.
    sending: Vec<usize>,
    time_outs_due: Instant,
    report: Report,
    answered: A,
}

/// Loads a server: each request's bytes come from `request` by its number, and each answer is shown
/// to `answered` with its number and service time.
///
/// # Errors
/// When the first connections cannot be made. One that breaks later fails its request, and is
/// opened again.
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
            events: Vec::with_capacity(EVENTS_MAX),
            slots: Vec::new(),
            free: (0..load.connections).collect(),
            sending: Vec::new(),
            time_outs_due: Instant::now(),
            report: Report::empty(),
            answered,
        };
        for slot in 0..load.connections {
            let connection = Connection::open(&load.address)?;
            generator.watch(slot, &connection)?;
            generator.slots.push(Slot {
                connection: Some(connection),
                pending: None,
            });
        }
        Ok(generator)
    }

    fn watch(&self, slot: usize, connection: &Connection) -> io::Result<()> {
        let data = epoll::EventData::new_u64(slot as u64);
        Ok(epoll::add(
            &self.epoll,
            connection,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Begins another connection in the place of the one that is there.
    fn renew(&mut self, slot: usize) -> io::Result<()> {
        self.slots[slot].connection = None;
        let connection = Connection::begin(&self.load.address)?;
        self.watch(slot, &connection)?;
        self.slots[slot].connection = Some(connection);
        Ok(())
    }

    fn closed<R: AsRef<[u8]>>(
        &mut self,
        requests: u64,
        request: &impl Fn(u64) -> R,
    ) -> io::Result<()> {
        while self.report.requests < requests || self.is_busy() {
            while self.report.requests < requests
                && let Some(slot) = self.free.pop_front()
            {
                self.send(slot, Instant::now(), request);
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
                && let Some(slot) = self.free.pop_front()
            {
                waiting.pop_front();
                self.send(slot, due, request);
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

    fn send<R: AsRef<[u8]>>(&mut self, slot: usize, due: Instant, request: &impl Fn(u64) -> R) {
        let number = self.report.requests;
        self.report.requests += 1;
        let sent = Instant::now();
        self.slots[slot].pending = Some(Pending { number, due, sent });
        if self.slots[slot].connection.is_none()
            && let Err(error) = self.renew(slot)
        {
            return self.give_up(slot, error);
        }
        let Some(connection) = &mut self.slots[slot].connection else {
            return;
        };
        match connection.send(request(number).as_ref()) {
            Err(error) => self.give_up(slot, error),
            Ok(()) if connection.is_sending() => self.sending.push(slot),
            Ok(()) => {}
        }
    }

    /// Takes what has come, goes on with what could not be sent at once, and gives up on what takes
    /// too long.
    fn collect(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let no_wait = rustix::event::Timespec::default();
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&no_wait),
        )?;
        for event in &events {
            self.poll(event.data.u64() as usize);
        }
        self.events = events;
        for slot in std::mem::take(&mut self.sending) {
            self.poll(slot);
            let connection = self.slots[slot].connection.as_ref();
            if connection.is_some_and(Connection::is_sending) {
                self.sending.push(slot);
            }
        }
        let now = Instant::now();
        if now >= self.time_outs_due {
            self.time_outs_due = now + TIME_OUT_PERIOD;
            self.time_out(now);
        }
        Ok(())
    }

    fn time_out(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let pending = self.slots[slot].pending.as_ref();
            let is_late = |pending: &Pending| {
                now.saturating_duration_since(pending.sent) > self.load.time_out
            };
            if pending.is_some_and(is_late) {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                self.give_up(slot, error);
            }
        }
    }

    fn poll(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot].connection else {
            return;
        };
        let answer = match connection.poll() {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(error) => return self.give_up(slot, error),
        };
        let is_ending = connection.is_ending();
        let Some(pending) = self.slots[slot].pending.take() else {
            return;
        };
        let now = Instant::now();
        let (response, service) = (now - pending.due, now - pending.sent);
        let report = &mut self.report;
        *report.statuses.entry(answer.status).or_default() += 1;
        if (200..300).contains(&answer.status) {
            record(&mut report.response_ns, response);
            record(&mut report.service_ns, service);
            record(&mut report.accepted_ns, response);
            record(&mut report.accepted_service_ns, service);
        } else {
            // An answer that is no success is no fast one.
            record(&mut report.response_ns, response.max(self.load.time_out));
            record(&mut report.service_ns, service.max(self.load.time_out));
        }
        (self.answered)(pending.number, &answer, service);
        self.free.push_back(slot);
        if is_ending {
            // What hinders another connection is told to the request that wants it.
            let _ = self.renew(slot);
        }
    }

    /// The request of this connection has failed; another connection takes its place.
    fn give_up(&mut self, slot: usize, error: io::Error) {
        self.slots[slot].connection = None;
        if let Some(pending) = self.slots[slot].pending.take() {
            self.fail(pending.number, pending.due, pending.sent, error);
            self.free.push_back(slot);
        }
        // What hinders another connection is told to the request that wants it.
        let _ = self.renew(slot);
    }

    fn fail(&mut self, request: u64, due: Instant, sent: Instant, error: io::Error) {
        let worst = |since: Instant| since.elapsed().max(self.load.time_out);
        record(&mut self.report.response_ns, worst(due));
        record(&mut self.report.service_ns, worst(sent));
        self.report.keep_failure(request, error);
    }
}

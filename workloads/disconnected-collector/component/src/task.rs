//! The task: one loop over standard input, the request on its way and the clock.

use disconnected_collector::limits::{INPUT_CHUNK_BYTES, MALFORMED_REPORTS_MAX};
use disconnected_collector::{Collector, Settings, Summary, Uplink};

use crate::bindings::wasi::cli0_2_0::stdin::get_stdin;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::bindings::wasi::random::random::get_random_u64;
use crate::bucket::Bucket;
use crate::clock::{self, MS, SECOND};
use crate::request::Request;
use crate::say;

/// A task at work.
pub(crate) struct Task<'a> {
    collector: Collector<Bucket>,
    settings: &'a Settings,
    uplink: Uplink,
    request: Option<Request>,
    input: Input,
    /// When delivering ends; known from the end of input on.
    drain_until_ns: Option<u64>,
    malformed: u64,
    is_full_told: bool,
    input_failure: Option<String>,
}

/// Standard input. In the order of dropping.
struct Input {
    is_ready: Pollable,
    stream: InputStream,
}

impl<'a> Task<'a> {
    pub(crate) fn new(collector: Collector<Bucket>, settings: &'a Settings) -> Self {
        let stream = get_stdin();
        Self {
            collector,
            settings,
            uplink: Uplink::new(settings.retry_ms_max),
            request: None,
            input: Input { is_ready: stream.subscribe(), stream },
            drain_until_ns: None,
            malformed: 0,
            is_full_told: false,
            input_failure: None,
        }
    }

    /// Collects and delivers until the input ended and all is delivered, or the time for that is over.
    /// The error is that of the bucket or of standard input.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        loop {
            self.accept()?;
            let now_ns = clock::now_ns();
            if self.advance_request(now_ns)? {
                // A delivery made room, so there may be more to accept before anything is waited for.
                continue;
            }
            self.begin_request(now_ns)?;
            if self.drain_until_ns.is_none() && self.collector.is_input_kept() {
                self.drain_until_ns = Some(now_ns + self.settings.drain_seconds * SECOND);
            }
            if let Some(drain_until_ns) = self.drain_until_ns
                && (self.collector.held() == 0 || now_ns >= drain_until_ns)
            {
                return self.input_failure.take().map_or(Ok(()), Err);
            }
            self.wait();
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let counts = self.collector.counts();
        Summary {
            received: counts.received,
            malformed: counts.malformed,
            delivered: counts.delivered,
            duplicates_suppressed: counts.duplicates_suppressed,
            batches: counts.batches,
            retries: self.uplink.retries(),
            longest_outage_ms: self.uplink.longest_outage_ms(clock::now_ns()),
            held_max: counts.held_max,
            held: self.collector.held(),
        }
    }

    /// Moves what was read into the bucket.
    fn accept(&mut self) -> Result<(), String> {
        let told = &mut self.malformed;
        let accepted = self.collector.accept(|line, why| {
            *told += 1;
            if *told <= MALFORMED_REPORTS_MAX {
                say::line(&format!("line {line} is not a reading: {why}"));
            }
        });
        accepted.map_err(|error| error.to_string())?;
        if let Some(refused) = self.collector.refused()
            && !self.is_full_told
        {
            // Once in a task: a full store fills again after each delivery.
            self.is_full_told = true;
            let held = self.collector.held();
            say::line(&format!(
                "the bucket is full ({refused}), {held} readings held; input waits for deliveries"
            ));
        }
        Ok(())
    }

    /// Goes on with the request. Whether a batch was acknowledged.
    fn advance_request(&mut self, now_ns: u64) -> Result<bool, String> {
        let Some(request) = &mut self.request else { return Ok(false) };
        let Some(batch) = self.collector.batch().map_err(|error| error.to_string())? else {
            return Ok(false);
        };
        let Some(outcome) = request.advance(batch, now_ns) else { return Ok(false) };
        self.request = None;
        match outcome {
            Ok(()) => {
                self.collector.acknowledged().map_err(|error| error.to_string())?;
                if let Some(outage_ns) = self.uplink.acknowledged(now_ns) {
                    let (time, held) = (clock::time_of_day(), self.collector.held());
                    let outage_ms = outage_ns / MS;
                    say::line(&format!(
                        "{time} uplink back after {outage_ms} ms, {held} readings held"
                    ));
                }
                Ok(true)
            }
            Err(why) => {
                self.failed(now_ns, &why);
                Ok(false)
            }
        }
    }

    /// Sends the next batch, or the same one again, when it is time for it.
    fn begin_request(&mut self, now_ns: u64) -> Result<(), String> {
        if self.request.is_some() || now_ns < self.uplink.not_before_ns() {
            return Ok(());
        }
        let Some(batch) = self.collector.batch().map_err(|error| error.to_string())? else {
            return Ok(());
        };
        self.uplink.attempt(now_ns);
        match Request::begin(&self.settings.upstream, batch, now_ns) {
            Ok(request) => self.request = Some(request),
            Err(why) => self.failed(now_ns, &why),
        }
        Ok(())
    }

    fn failed(&mut self, now_ns: u64, why: &str) {
        if self.uplink.failed(now_ns, get_random_u64()) {
            let (time, held) = (clock::time_of_day(), self.collector.held());
            say::line(&format!("{time} uplink down ({why}), {held} readings held"));
        }
    }

    /// Waits until anything can go on, and reads if it is the input.
    fn wait(&mut self) {
        let mut pollables = Vec::with_capacity(4);
        let wants_input = self.collector.wants_input();
        if wants_input {
            pollables.push(&self.input.is_ready);
        }
        if let Some(request) = &self.request {
            request.wait_for(&mut pollables);
        }
        let timer = self.next_instant_ns().map(monotonic_clock::subscribe_instant);
        pollables.extend(&timer);
        let ready = poll(&pollables);
        if wants_input && ready.contains(&0) {
            self.read();
        }
    }

    /// The next instant at which something is due: the end of the request, the next one, or the end of
    /// delivering.
    fn next_instant_ns(&self) -> Option<u64> {
        let request_ns = match &self.request {
            Some(request) => Some(request.deadline_ns),
            None => (self.collector.held() > 0).then(|| self.uplink.not_before_ns()),
        };
        [request_ns, self.drain_until_ns].into_iter().flatten().min()
    }

    fn read(&mut self) {
        match self.input.stream.read(INPUT_CHUNK_BYTES as u64) {
            Ok(chunk) => self.collector.push(&chunk),
            Err(StreamError::Closed) => self.collector.end_input(),
            Err(StreamError::LastOperationFailed(error)) => {
                // What was read before is delivered all the same.
                let why = error.to_debug_string();
                self.input_failure = Some(format!("standard input failed: {why}"));
                self.collector.end_input();
            }
        }
    }
}

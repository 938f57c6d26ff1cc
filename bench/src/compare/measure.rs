//! Measures the targets of one scenario.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::server::{Server, Setup};
use super::{Error, Plan};
use crate::load::{Load, Pace, run};
use crate::outcome::Report;
use crate::results::{Scenario, Target, median};
use crate::schedule::Arrivals;
use crate::url::Address;

/// When a request has failed.
const TIME_OUT: Duration = Duration::from_secs(5);
/// Turns that each target has at that rate.
const OPEN_ROUNDS: u32 = 5;
/// The share of the slowest target's peak rate at which latencies are compared.
const LOAD_SHARE: f64 = 0.5;

/// A server under one name, with what it is asked.
pub(super) struct Measurand<'a> {
    pub(super) name: &'static str,
    /// `Err` says why it is missing.
    pub(super) server: Result<&'a Server, String>,
    pub(super) request: Vec<u8>,
}

/// How a scenario loads its targets.
#[derive(Clone, Copy)]
pub(super) struct Dose {
    pub(super) connections: usize,
    /// Requests of one closed loop.
    pub(super) requests: u64,
}

/// Collects what a scenario finds.
pub(super) struct Recorder<'a> {
    pub(super) setup: &'a Setup,
    pub(super) quick: bool,
    progress: &'a mut dyn FnMut(&str),
    measured: Measured,
}

/// What a scenario found.
pub(super) struct Measured {
    pub(super) scenario: Scenario,
    /// Response times by target, nanoseconds.
    pub(super) latencies: Vec<(String, Histogram<u64>)>,
}

/// One request, ready to be sent.
pub(super) fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}{length}\r\n",
        server.address
    );
    [head.as_bytes(), body].concat()
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        setup: &'a Setup,
        plan: &Plan,
        scenario: &str,
        progress: &'a mut dyn FnMut(&str),
    ) -> Self {
        let scenario = Scenario {
            name: scenario.into(),
            ..Scenario::default()
        };
        Self {
            setup,
            quick: plan.quick,
            progress,
            measured: Measured {
                scenario,
                latencies: Vec::new(),
            },
        }
    }

    /// What was found, and why there is no more of it.
    pub(super) fn finish(mut self, failed: Option<String>) -> Measured {
        self.measured.scenario.failed = failed;
        self.measured
    }

    pub(super) fn describe(&mut self, description: String) {
        self.measured.scenario.description = description;
    }

    pub(super) fn add(&mut self, target: Target) {
        self.measured.scenario.targets.push(target);
    }

    pub(super) fn keep_latency(&mut self, target: &str, report: &Report) {
        let latency = (target.to_owned(), report.response_ns.clone());
        self.measured.latencies.push(latency);
    }

    pub(super) fn say(&mut self, what: &str) {
        (self.progress)(what);
    }

    /// How long an open loop lasts, all rounds together.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 })
    }

    /// How often each target has its turn, after a round that warms up.
    pub(super) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// CPU time, peak rate and latencies of all targets, interleaved. One that does not answer as it should is
    /// listed with the reason.
    pub(super) fn measure(&mut self, targets: &[Measurand<'_>], dose: Dose) -> Result<(), Error> {
        let mut sides: Vec<_> = targets
            .iter()
            .map(|target| Side::of(target, dose))
            .collect();
        for round in 0..=self.rounds() {
            for side in &mut sides {
                side.closed_round(round)?;
            }
        }
        let peaks = sides.iter().filter_map(Side::peak_rps);
        let rate_rps = LOAD_SHARE * peaks.fold(f64::INFINITY, f64::min);
        let rounds = if self.quick { 1 } else { OPEN_ROUNDS };
        for _ in 0..rounds {
            for side in &mut sides {
                let Ok(server) = &side.server else { continue };
                let load = open_load(server, dose.connections, rate_rps, self.duration() / rounds);
                let report = run(&load, |_| side.request, |_, _, _| {})?;
                match &mut side.open {
                    Some(sum) => sum.merge(report),
                    none => *none = Some(report),
                }
            }
        }
        for side in sides {
            self.add_side(side, rate_rps)?;
        }
        Ok(())
    }

    fn add_side(&mut self, side: Side<'_>, rate_rps: f64) -> Result<(), Error> {
        let peak_rps = side.peak_rps();
        let (server, report) = match (side.server, side.open) {
            (Ok(server), Some(report)) => (server, report),
            (missing, _) => {
                self.add(Target::missing(
                    side.name,
                    missing.err().unwrap_or_default(),
                ));
                return Ok(());
            }
        };
        self.keep_latency(side.name, &report);
        let mut figures = Target {
            name: side.name.into(),
            cpu_us_per_request: median(side.cpu_us.clone()),
            cpu_us_rounds: side.cpu_us,
            peak_rps,
            rss_bytes: Some(server.tree.resident_bytes()?),
            ..Target::default()
        };
        figures.set_latency(rate_rps, &report);
        self.say(&format!(
            "  {}: {:.1} µs CPU, peak {:.0}/s, p50 {:.0} µs, p99 {:.0} µs at {rate_rps:.0}/s",
            side.name,
            figures.cpu_us_per_request.unwrap_or_default(),
            peak_rps.unwrap_or_default(),
            figures.p50_us.unwrap_or_default(),
            figures.p99_us.unwrap_or_default()
        ));
        self.add(figures);
        Ok(())
    }

    /// Latencies at a rate.
    pub(super) fn open(
        &self,
        server: &Server,
        request: &[u8],
        connections: usize,
        rate_rps: f64,
    ) -> Result<Report, Error> {
        let load = open_load(server, connections, rate_rps, self.duration());
        Ok(run(&load, |_| request, |_, _, _| {})?)
    }
}

fn open_load(server: &Server, connections: usize, rate_rps: f64, duration: Duration) -> Load {
    Load {
        address: Address::Tcp(server.address),
        connections,
        pace: Pace::Open {
            rate_rps,
            arrivals: Arrivals::Poisson,
            duration,
        },
        time_out: TIME_OUT,
    }
}

/// So many requests, as fast as they are answered.
///
/// # Errors
/// When the server cannot be reached.
pub(super) fn closed(server: &Server, request: &[u8], dose: Dose) -> Result<Report, Error> {
    let load = Load {
        address: Address::Tcp(server.address),
        connections: dose.connections,
        pace: Pace::Closed {
            requests: dose.requests,
        },
        time_out: TIME_OUT,
    };
    Ok(run(&load, |_| request, |_, _, _| {})?)
}

/// What went wrong, when not every request was answered with success.
pub(super) fn failure(report: &Report) -> Option<String> {
    (report.errors() > 0).then(|| {
        format!(
            "{} of {} requests failed; answers by status {:?}, the first failure {:?}",
            report.errors(),
            report.requests,
            report.statuses,
            report.failures.first()
        )
    })
}

/// One target, and what was found of it.
struct Side<'a> {
    name: &'static str,
    request: &'a [u8],
    dose: Dose,
    /// `Err` says why it is not measured, or not any more.
    server: Result<&'a Server, String>,
    /// CPU time per request of each round, µs.
    cpu_us: Vec<f64>,
    peaks_rps: Vec<f64>,
    open: Option<Report>,
}

impl<'a> Side<'a> {
    fn of(target: &'a Measurand<'_>, dose: Dose) -> Self {
        Self {
            name: target.name,
            request: &target.request,
            dose,
            server: target.server.clone(),
            cpu_us: Vec::new(),
            peaks_rps: Vec::new(),
            open: None,
        }
    }

    /// The first round warms up.
    fn closed_round(&mut self, round: usize) -> Result<(), Error> {
        let Ok(server) = self.server else {
            return Ok(());
        };
        let mut dose = self.dose;
        if round == 0 {
            dose.requests = (dose.requests / 4).max(1);
        }
        let before_ns = server.tree.cpu_ns()?;
        let report = closed(server, self.request, dose)?;
        if let Some(reason) = failure(&report) {
            self.server = Err(reason);
            return Ok(());
        }
        let used_ns = server.tree.cpu_ns()? - before_ns;
        if round > 0 {
            self.cpu_us
                .push(used_ns as f64 / 1e3 / dose.requests as f64);
            self.peaks_rps.push(report.succeeded_rps());
        }
        Ok(())
    }

    fn peak_rps(&self) -> Option<f64> {
        let measured = self.server.is_ok().then(|| self.peaks_rps.clone());
        median(measured?)
    }
}

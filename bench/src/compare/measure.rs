//! Measures the targets of one scenario.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::server::{Server, Setup};
use super::{Error, Plan};
use crate::load::{Load, Pace, run};
use crate::outcome::Report;
use crate::results::{Scenario, Target};
use crate::schedule::Arrivals;
use crate::url::Address;

/// When a request has failed.
const TIME_OUT: Duration = Duration::from_secs(5);
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

    pub(super) fn finish(self) -> Measured {
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

    /// How long an open loop lasts.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 })
    }

    pub(super) fn repeats(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// CPU time, peak rate and latencies of all targets, interleaved.
    pub(super) fn measure(&mut self, targets: &[Measurand<'_>], dose: Dose) -> Result<(), Error> {
        let costs = self.costs(targets, dose)?;
        let peaks = costs.iter().flatten().map(|cost| cost.peak_rps);
        let rate_rps = LOAD_SHARE * peaks.fold(f64::INFINITY, f64::min);
        for (target, cost) in targets.iter().zip(costs) {
            let (server, cost) = match (&target.server, cost) {
                (Ok(server), Some(cost)) => (server, cost),
                (missing, _) => {
                    let reason = missing.as_ref().err().cloned().unwrap_or_default();
                    self.add(Target::missing(target.name, reason));
                    continue;
                }
            };
            let report = self.open(server, &target.request, dose.connections, rate_rps)?;
            self.keep_latency(target.name, &report);
            let mut figures = Target {
                name: target.name.into(),
                cpu_us_per_request: Some(cost.cpu_us),
                cpu_us_range: Some(cost.cpu_us_range),
                peak_rps: Some(cost.peak_rps),
                rss_bytes: Some(server.tree.resident_bytes()?),
                ..Target::default()
            };
            figures.set_latency(rate_rps, &report);
            self.say(&format!(
                "  {}: {:.1} µs CPU, peak {:.0}/s, p50 {:.0} µs, p99 {:.0} µs at {rate_rps:.0}/s",
                target.name,
                cost.cpu_us,
                cost.peak_rps,
                figures.p50_us.unwrap_or_default(),
                figures.p99_us.unwrap_or_default()
            ));
            self.add(figures);
        }
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
        let load = Load {
            address: Address::Tcp(server.address),
            connections,
            pace: Pace::Open {
                rate_rps,
                arrivals: Arrivals::Poisson,
                duration: self.duration(),
            },
            time_out: TIME_OUT,
        };
        Ok(run(&load, |_| request, |_, _, _| {})?)
    }

    fn costs(&self, targets: &[Measurand<'_>], dose: Dose) -> Result<Vec<Option<Cost>>, Error> {
        let mut samples: Vec<Vec<(f64, f64)>> = targets.iter().map(|_| Vec::new()).collect();
        for repeat in 0..=self.repeats() {
            for (target, samples) in targets.iter().zip(&mut samples) {
                let Ok(server) = target.server else { continue };
                // The first round warms up.
                let requests = if repeat == 0 {
                    dose.requests / 4
                } else {
                    dose.requests
                };
                let sample = self.closed(target, server, dose.connections, requests.max(1))?;
                if repeat > 0 {
                    samples.push(sample);
                }
            }
        }
        Ok(samples.into_iter().map(Cost::of).collect())
    }

    /// CPU time per request, µs, and requests per second.
    fn closed(
        &self,
        target: &Measurand<'_>,
        server: &Server,
        connections: usize,
        requests: u64,
    ) -> Result<(f64, f64), Error> {
        let load = Load {
            address: Address::Tcp(server.address),
            connections,
            pace: Pace::Closed { requests },
            time_out: TIME_OUT,
        };
        let before_ns = server.tree.cpu_ns()?;
        let report = run(&load, |_| &target.request, |_, _, _| {})?;
        let used_ns = server.tree.cpu_ns()? - before_ns;
        if report.errors() > 0 {
            return Err(Error::Wrong {
                target: target.name.into(),
                scenario: self.measured.scenario.name.clone(),
                reason: format!(
                    "{} of {requests} requests failed; answers by status {:?}, failures {:?}",
                    report.errors(),
                    report.statuses,
                    report.failures
                ),
            });
        }
        let cpu_us = used_ns as f64 / 1e3 / requests as f64;
        Ok((cpu_us, report.succeeded_rps()))
    }
}

#[derive(Clone, Copy)]
struct Cost {
    cpu_us: f64,
    cpu_us_range: [f64; 2],
    peak_rps: f64,
}

impl Cost {
    fn of(samples: Vec<(f64, f64)>) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        let (mut cpu_us, mut peak_rps): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
        cpu_us.sort_by(f64::total_cmp);
        peak_rps.sort_by(f64::total_cmp);
        let middle = cpu_us.len() / 2;
        Some(Self {
            cpu_us: cpu_us[middle],
            cpu_us_range: [cpu_us[0], cpu_us[cpu_us.len() - 1]],
            peak_rps: peak_rps[middle],
        })
    }
}

//! The figures as they are written down (JSON).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::quantile_us;
use crate::outcome::Report;

/// Percentiles that a latency plot is drawn from.
const PLOTTED: &[f64] = &[
    0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99, 99.995, 99.999,
];

/// What `vyr bench compare` found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The machine, and how it was used.
    pub host: BTreeMap<String, String>,
    /// The command that makes it again.
    pub command: String,
    /// What was measured.
    pub scenarios: Vec<Scenario>,
    /// The figures that VYR promises something about.
    pub ratios: Vec<Ratio>,
}

/// One way to use a server, on every target that can.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What was done.
    pub description: String,
    /// By target.
    pub targets: Vec<Target>,
    /// Why it was not carried out to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// One server's figures. What does not apply is absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Why its latencies mean nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// Why its latencies from p99.9 on mean nothing, though those up to p99 may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void_tail: Option<String>,
    /// User and system time of the server's processes per request, µs: median over rounds.
    pub cpu_us_per_request: Option<f64>,
    /// The same of each round, in order: the rounds of a scenario's targets take turns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpu_us_rounds: Vec<f64>,
    /// Requests of the latency run.
    pub requests: Option<u64>,
    /// Of these, those without an answer of success.
    pub errors: Option<u64>,
    /// Requests per second that the latency run offered.
    pub offered_rps: Option<f64>,
    /// Requests per second in the closed loop: median over rounds.
    pub peak_rps: Option<f64>,
    /// Response time, µs.
    pub p50_us: Option<f64>,
    /// Response time, µs.
    pub p90_us: Option<f64>,
    /// Response time, µs.
    pub p99_us: Option<f64>,
    /// Response time, µs.
    pub p999_us: Option<f64>,
    /// Response time, µs.
    pub p9999_us: Option<f64>,
    /// Response time, µs.
    pub max_us: Option<f64>,
    /// Service time, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_p99_us: Option<f64>,
    /// Resident memory of all its processes after the scenario, bytes.
    pub rss_bytes: Option<u64>,
    /// Pairs of percentile (0 to 100) and response time in µs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<[f64; 2]>,
    /// Other figures of the scenario, by name with unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// A figure with what it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ratio {
    /// What it says.
    pub what: String,
    /// The figure; absent when something for it is missing or void.
    pub value: Option<f64>,
    /// `<=` or `>=`.
    pub relation: String,
    /// What it should be.
    pub bar: f64,
    /// Whether it is; absent when there is no figure.
    pub met: Option<bool>,
}

/// What `vyr bench sweep` found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// The server.
    pub url: String,
    /// The machine, and how it was used.
    pub host: BTreeMap<String, String>,
    /// By rising rate.
    pub points: Vec<Point>,
}

/// Latency at one rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Requests per second that were due.
    pub offered_rps: f64,
    /// Successful answers per second.
    pub achieved_rps: f64,
    /// Response time, µs.
    pub p50_us: f64,
    /// Response time, µs.
    pub p99_us: f64,
    /// Response time, µs.
    pub p999_us: f64,
    /// Response time, µs.
    pub max_us: f64,
    /// Requests without an answer of success.
    pub errors: u64,
    /// Whether the generator fell behind.
    pub void: bool,
}

impl Target {
    /// A target that is not there.
    #[must_use]
    pub fn missing(name: &str, reason: String) -> Self {
        Self {
            name: name.into(),
            missing: Some(reason),
            ..Self::default()
        }
    }

    /// Takes over what a latency run found.
    pub fn set_latency(&mut self, offered_rps: f64, report: &Report) {
        let quantile = |quantile| Some(quantile_us(&report.response_ns, quantile));
        self.void = report.void();
        self.void_tail = report.void_tail();
        self.requests = Some(report.requests);
        self.errors = Some(report.errors());
        self.offered_rps = Some(offered_rps);
        self.p50_us = quantile(0.5);
        self.p90_us = quantile(0.9);
        self.p99_us = quantile(0.99);
        self.p999_us = quantile(0.999);
        self.p9999_us = quantile(0.9999);
        self.max_us = Some(report.response_ns.max() as f64 / 1e3);
        self.service_p99_us = Some(quantile_us(&report.service_ns, 0.99));
        self.percentiles = PLOTTED
            .iter()
            .map(|&percentile| {
                [
                    percentile,
                    quantile_us(&report.response_ns, percentile / 100.0),
                ]
            })
            .collect();
    }
}

impl Point {
    /// What a run at this rate found.
    #[must_use]
    pub fn of(offered_rps: f64, report: &Report) -> Self {
        let quantile = |quantile| quantile_us(&report.response_ns, quantile);
        Self {
            offered_rps,
            achieved_rps: report.succeeded_rps(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: report.response_ns.max() as f64 / 1e3,
            errors: report.errors(),
            void: report.void().is_some(),
        }
    }
}

impl Ratio {
    /// A figure that should be at most `bar`.
    #[must_use]
    pub fn at_most(what: &str, value: Option<f64>, bar: f64) -> Self {
        Self {
            what: what.into(),
            value,
            relation: "<=".into(),
            bar,
            met: value.map(|value| value <= bar),
        }
    }

    /// A figure that should be at least `bar`.
    #[must_use]
    pub fn at_least(what: &str, value: Option<f64>, bar: f64) -> Self {
        Self {
            what: what.into(),
            value,
            relation: ">=".into(),
            bar,
            met: value.map(|value| value >= bar),
        }
    }
}

impl Target {
    /// Its latencies up to p99, if they mean something.
    #[must_use]
    pub fn latencies(&self) -> Option<&Self> {
        self.void.is_none().then_some(self)
    }

    /// Its latencies from p99.9 on, if they mean something.
    #[must_use]
    pub fn tail(&self) -> Option<&Self> {
        self.latencies().filter(|target| target.void_tail.is_none())
    }

    /// CPU time per request ÷ another target's: the median over the rounds in which both took turns, so that what
    /// slows the machine for a while slows both sides of a quotient.
    #[must_use]
    pub fn cpu_to(&self, other: &Self) -> Option<f64> {
        let rounds = self.cpu_us_rounds.iter().zip(&other.cpu_us_rounds);
        median(rounds.map(|(one, other)| one / other).collect())
    }
}

/// The middle one, or the upper of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Comparison {
    /// A target's figures in a scenario, when it was measured.
    #[must_use]
    pub fn target(&self, scenario: &str, target: &str) -> Option<&Target> {
        let scenario = self.scenarios.iter().find(|one| one.name == scenario)?;
        let found = scenario.targets.iter().find(|one| one.name == target)?;
        found.missing.is_none().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_agreed_names() {
        let json = serde_json::to_value(Comparison {
            scenarios: vec![Scenario {
                targets: vec![Target::default()],
                ..Scenario::default()
            }],
            ..Comparison::default()
        })
        .expect("JSON");
        assert!(json["host"].is_object());
        let target = &json["scenarios"][0]["targets"][0];
        for name in [
            "name",
            "cpu_us_per_request",
            "requests",
            "errors",
            "offered_rps",
            "peak_rps",
            "p50_us",
            "p90_us",
            "p99_us",
            "p999_us",
            "p9999_us",
            "max_us",
            "rss_bytes",
        ] {
            assert!(target.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn costs_are_compared_round_by_round() {
        let target = |rounds: &[f64]| Target {
            cpu_us_rounds: rounds.into(),
            ..Target::default()
        };
        // The machine was slow in the second half. The medians alone would say 1.
        let one = target(&[10.0, 10.0, 20.0, 20.0, 20.0]);
        let other = target(&[5.0, 5.0, 20.0, 10.0, 10.0]);
        assert_eq!(one.cpu_to(&other), Some(2.0));
        assert_eq!(one.cpu_to(&target(&[])), None);
    }

    #[test]
    fn void_latencies_are_not_judged() {
        let mut target = Target::default();
        assert!(target.latencies().is_some() && target.tail().is_some());
        target.void_tail = Some("late".into());
        assert!(target.latencies().is_some() && target.tail().is_none());
        target.void = Some("later".into());
        assert!(target.latencies().is_none() && target.tail().is_none());
        assert_eq!(Ratio::at_most("nothing", None, 1.0).met, None);
    }
}

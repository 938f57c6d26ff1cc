//! Latency against rate, up to the knee.

use std::io;
use std::time::Duration;

use crate::load::{Load, Pace, run};
use crate::results::Point;
use crate::schedule::Arrivals;
use crate::url::Address;

/// The knee is passed when so much of what was offered is not achieved.
const ACHIEVED_MIN: f64 = 0.95;

/// How to sweep.
#[derive(Debug, Clone)]
pub struct SweepPlan {
    /// The server.
    pub address: Address,
    /// Connections.
    pub connections: usize,
    /// How requests are spread.
    pub arrivals: Arrivals,
    /// The first rate, requests per second.
    pub from_rps: f64,
    /// Each rate is the last one times this, which is above 1.
    pub factor: f64,
    /// How long each rate is held.
    pub duration: Duration,
    /// When a request has failed.
    pub time_out: Duration,
    /// Rates at most.
    pub points_max: usize,
}

/// Raises the rate until the server does not follow any more, and shows each point.
///
/// # Errors
/// When the server cannot be reached.
pub fn sweep(
    plan: &SweepPlan,
    request: &[u8],
    mut point: impl FnMut(&Point),
) -> io::Result<Vec<Point>> {
    let mut points = Vec::new();
    let mut rate_rps = plan.from_rps;
    while points.len() < plan.points_max {
        let load = Load {
            address: plan.address.clone(),
            connections: plan.connections,
            pace: Pace::Open {
                rate_rps,
                arrivals: plan.arrivals,
                duration: plan.duration,
            },
            time_out: plan.time_out,
        };
        let report = run(&load, |_| request, |_, _, _| {})?;
        // What was due: random arrivals are a few more or less than the rate says.
        let offered_rps = report.requests as f64 / plan.duration.as_secs_f64();
        let last = Point::of(offered_rps, &report);
        point(&last);
        let passed = last.achieved_rps < ACHIEVED_MIN * offered_rps;
        points.push(last);
        if passed {
            break;
        }
        rate_rps *= plan.factor;
    }
    Ok(points)
}

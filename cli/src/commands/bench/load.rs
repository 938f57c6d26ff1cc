//! `vyr bench load` and `vyr bench sweep`: one server under load.

use std::fs::{self, File};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use vyr_bench::results::Sweep;
use vyr_bench::{Arrivals, Load, Pace, Report, SweepPlan, quantile_us, write_hgrm};

use crate::arguments::{BenchLoad, BenchSweep, Format};
use crate::output;

const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

pub(super) fn run(arguments: &BenchLoad) -> anyhow::Result<ExitCode> {
    let bytes = super::request(&arguments.url, &arguments.request)?;
    super::pin(arguments.cpu)?;
    let open = |rate_rps, milliseconds| Pace::Open {
        rate_rps,
        arrivals: if arguments.poisson {
            Arrivals::Poisson
        } else {
            Arrivals::Constant
        },
        duration: Duration::from_millis(milliseconds),
    };
    let (warm_up, pace) = match arguments.rate {
        Some(rate_rps) => (
            open(rate_rps, arguments.warm_up),
            open(rate_rps, arguments.duration),
        ),
        None => (
            Pace::Closed {
                requests: arguments.requests / 10,
            },
            Pace::Closed {
                requests: arguments.requests,
            },
        ),
    };
    let load = |pace| Load {
        address: arguments.url.address.clone(),
        connections: usize::from(arguments.connections),
        pace,
        time_out: Duration::from_millis(arguments.timeout),
    };
    let run = |pace| {
        vyr_bench::run(&load(pace), |_| bytes.as_slice(), |_, _, _| {})
            .with_context(|| format!("cannot load {}", arguments.url.host))
    };
    run(warm_up)?;
    let report = run(pace)?;
    if let Some(dir) = &arguments.out {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, histogram) in [
            ("response.hgrm", &report.response_ns),
            ("service.hgrm", &report.service_ns),
        ] {
            let path = dir.join(name);
            File::create(&path)
                .and_then(|file| write_hgrm(histogram, file))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    print(&report, arguments)?;
    if let Some(reason) = report.void() {
        eprintln!("vyr: the latencies are void: {reason}");
        return Ok(ExitCode::FAILURE);
    }
    if let Some(reason) = report.void_tail() {
        eprintln!("vyr: {reason}");
    }
    if let Some(failure) = report.failures.first() {
        eprintln!(
            "vyr: {} requests were not answered; the first: {}",
            report.failed, failure.error
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, arguments: &BenchLoad) -> anyhow::Result<()> {
    let latencies = [
        ("response", &report.response_ns),
        ("service", &report.service_ns),
    ];
    if arguments.output == Format::Json {
        let quantiles = |histogram| {
            let pairs = QUANTILES.map(|(name, quantile)| {
                let key = format!("{}_us", name.replace('.', ""));
                (key, json!(quantile_us(histogram, quantile)))
            });
            serde_json::Value::Object(pairs.into_iter().collect())
        };
        return output::json(&json!({
            "host": vyr_bench::fingerprint(),
            "requests": report.requests,
            "statuses": report.statuses,
            "errors": report.errors(),
            "unanswered": report.failed,
            "elapsed_s": report.elapsed.as_secs_f64(),
            "offered_rps": arguments.rate,
            "achieved_rps": report.succeeded_rps(),
            "response": quantiles(&report.response_ns),
            "service": quantiles(&report.service_ns),
            "generator_late_p99_us": quantile_us(&report.late_ns, 0.99),
            "void": report.void(),
            "void_tail": report.void_tail(),
        }));
    }
    let row = |(name, histogram): (&str, _)| {
        let mut cells = vec![name.to_owned()];
        cells.extend(
            QUANTILES.map(|(_, quantile)| format!("{:.1}", quantile_us(histogram, quantile))),
        );
        <[String; 7]>::try_from(cells).unwrap_or_default()
    };
    let headings = ["µs", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    output::table(headings, &latencies.map(row))?;
    println!(
        "\n{} requests, {} errors, {:.0} per second; statuses {:?}; generator late p99 {:.1} µs",
        report.requests,
        report.errors(),
        report.succeeded_rps(),
        report.statuses,
        quantile_us(&report.late_ns, 0.99)
    );
    Ok(())
}

pub(super) fn sweep(arguments: &BenchSweep) -> anyhow::Result<ExitCode> {
    /// Rates at most.
    const POINTS_MAX: usize = 64;
    let bytes = super::request(&arguments.url, &arguments.request)?;
    super::pin(arguments.cpu)?;
    let plan = SweepPlan {
        address: arguments.url.address.clone(),
        connections: usize::from(arguments.connections),
        arrivals: Arrivals::Poisson,
        from_rps: arguments.from,
        factor: arguments.factor,
        duration: Duration::from_millis(arguments.duration),
        time_out: Duration::from_secs(5),
        points_max: POINTS_MAX,
    };
    let points = vyr_bench::sweep(&plan, &bytes, |point| {
        eprintln!(
            "{:.0}/s offered, {:.0}/s achieved, p50 {:.0} µs, p99 {:.0} µs{}",
            point.offered_rps,
            point.achieved_rps,
            point.p50_us,
            point.p99_us,
            if point.void {
                " (void: the generator fell behind)"
            } else {
                ""
            }
        );
    });
    let points = points.with_context(|| format!("cannot load {}", arguments.url.host))?;
    let sweep = Sweep {
        url: format!("{}{}", arguments.url.host, arguments.url.path),
        host: vyr_bench::fingerprint(),
        points,
    };
    if let Some(path) = &arguments.out {
        let text = serde_json::to_vec_pretty(&sweep)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.output == Format::Json {
        output::json(&sweep)?;
    } else {
        let rows: Vec<_> = sweep
            .points
            .iter()
            .map(|point| {
                [
                    format!("{:.0}", point.offered_rps),
                    format!("{:.0}", point.achieved_rps),
                    format!("{:.0}", point.p50_us),
                    format!("{:.0}", point.p99_us),
                    format!("{:.0}", point.p999_us),
                    format!("{:.0}", point.max_us),
                    point.errors.to_string(),
                ]
            })
            .collect();
        output::table(
            [
                "offered/s",
                "achieved/s",
                "p50 µs",
                "p99 µs",
                "p99.9 µs",
                "max µs",
                "errors",
            ],
            &rows,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

//! The figures that VYR promises something about.

use super::engine;
use crate::results::{Comparison, Ratio, Target};

const MIB: f64 = 1024.0 * 1024.0;

/// Those whose scenarios were run.
pub(super) fn of(comparison: &Comparison) -> Vec<Ratio> {
    let ran = |name: &str| {
        comparison
            .scenarios
            .iter()
            .any(|scenario| scenario.name == name)
    };
    let value = |scenario: &str, target: &str, field: fn(&Target) -> Option<f64>| {
        field(comparison.target(scenario, target)?)
    };
    let ratio = |scenario: &str, one: &str, other: &str, field: fn(&Target) -> Option<f64>| {
        Some(value(scenario, one, field)? / value(scenario, other, field)?)
    };
    let cpu = |scenario: &str, one: &str, other: &str| {
        let other = comparison.target(scenario, other)?;
        comparison.target(scenario, one)?.cpu_to(other)
    };
    let ms = |us: Option<f64>| us.map(|us| us / 1e3);
    let mut ratios = Vec::new();
    if ran("hello") {
        for (other, bar) in [
            ("wasmtime-serve-tuned", 0.5),
            ("wasmtime-serve", 0.3),
            ("workerd", 0.33),
        ] {
            let what = format!("CPU per request, hello, fresh instance ÷ {other}");
            ratios.push(Ratio::at_most(&what, cpu("hello", "vyr-fresh", other), bar));
        }
        let what = "CPU per request, hello, instance used again ÷ nginx 'return 200'";
        ratios.push(Ratio::at_most(
            what,
            cpu("hello", "vyr-reuse", "nginx"),
            1.6,
        ));
        let what = "CPU per request, no Wasm: our io_uring executor ÷ hyper on tokio";
        ratios.push(Ratio::at_most(
            what,
            cpu("hello", "hyper-glommio", "hyper-tokio"),
            1.05,
        ));
    }
    if ran("hello-half-peak") {
        let latency = |field| {
            ratio(
                "hello-half-peak",
                "vyr-fresh",
                "wasmtime-serve-tuned",
                field,
            )
        };
        let what = "p99 of hello at half of tuned wasmtime serve's peak ÷ its own";
        ratios.push(Ratio::at_most(
            what,
            latency(|target| target.latencies()?.p99_us),
            0.5,
        ));
        let what = "p99.9 of hello at half of tuned wasmtime serve's peak ÷ its own";
        ratios.push(Ratio::at_most(
            what,
            latency(|target| target.tail()?.p999_us),
            0.5,
        ));
    }
    if ran("spinning-neighbour") {
        let p99 = value("spinning-neighbour", "vyr-fresh", |target| {
            target.latencies()?.p99_us
        });
        ratios.push(Ratio::at_most(
            "p99 of hello beside a spinning guest, ms",
            ms(p99),
            5.0,
        ));
    }
    if ran("cancel") {
        let p99 = value("cancel", "vyr", |target| target.p99_us);
        ratios.push(Ratio::at_most(
            "cancel of a spinning guest, p99, ms",
            ms(p99),
            10.0,
        ));
    }
    if ran("cold") {
        let [p50, p99] = [
            |target: &Target| target.p50_us,
            |target: &Target| target.p99_us,
        ]
        .map(|field| ms(value("cold", "vyr", field)));
        ratios.push(Ratio::at_most(
            "first request of an artifact, p50, ms",
            p50,
            2.0,
        ));
        ratios.push(Ratio::at_most(
            "first request of an artifact, p99, ms",
            p99,
            10.0,
        ));
    }
    if ran("overload") {
        let goodput = value("overload", "vyr-fresh", |target| {
            target.figures.get("goodput_to_peak").copied()
        });
        ratios.push(Ratio::at_least(
            "goodput at 3 times the peak rate of hello ÷ peak",
            goodput,
            0.9,
        ));
        let p99 = value("overload", "vyr-fresh", |target| {
            target.figures.get("accepted_service_p99_us").copied()
        });
        ratios.push(Ratio::at_most(
            "p99 of what is accepted at 3 times the peak rate, ms",
            ms(p99),
            20.0,
        ));
    }
    if ran("stream") {
        let events = ratio("stream", "vyr", "native", |target| {
            target.figures.get("events_per_second").copied()
        });
        ratios.push(Ratio::at_least(
            "event-transform as a stream, events/s ÷ native program",
            events,
            0.5,
        ));
    }
    if ran("start") {
        let median = value("start", "vyr", |target| target.p50_us);
        ratios.push(Ratio::at_most(
            "start of 'vyr node' to ready, median, ms",
            ms(median),
            300.0,
        ));
        let mib = value("start", "vyr", |target| {
            Some(target.rss_bytes? as f64 / MIB)
        });
        ratios.push(Ratio::at_most("memory of an idle shard, MiB", mib, 32.0));
    }
    if ran("engine") {
        for (guest, _) in engine::GUESTS {
            let two = value("engine", &format!("{guest}-2"), |target| {
                target.figures.get(engine::TO_ONE_SHARD).copied()
            });
            let what = format!("tasks per second without HTTP, {guest}: two shards ÷ one");
            ratios.push(Ratio::at_least(&what, two, 1.9));
        }
    }
    if ran("telemetry") {
        let what = "CPU per request, hello: all telemetry, every task exported ÷ none";
        ratios.push(Ratio::at_most(
            what,
            cpu("telemetry", "vyr-telemetry-on", "vyr-telemetry-off"),
            1.05,
        ));
    }
    if ran("growth") {
        let mib = value("growth", "vyr-fresh", |target| {
            Some(target.figures.get("growth_bytes")? / MIB)
        });
        ratios.push(Ratio::at_most(
            "growth of a shard over the tasks of 'growth', MiB",
            mib,
            2.0,
        ));
    }
    ratios
}

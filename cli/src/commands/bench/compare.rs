//! `vyr bench compare` and `vyr bench report`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use vyr_bench::compare::{Plan, Setup, compare, processors};
use vyr_bench::results::Comparison;

use crate::arguments::BenchCompare;
use crate::output;

pub(super) fn run(arguments: BenchCompare) -> anyhow::Result<ExitCode> {
    let (server_cpu, generator_cpu) = processors()?;
    let work = tempfile::tempdir().context("cannot make a directory for the servers")?;
    let setup = Setup {
        vyr: crate::node::own_program(),
        wasmtime: program("VYR_WASMTIME", "wasmtime"),
        workerd: program("VYR_WORKERD", "workerd"),
        nginx: program("VYR_NGINX", "nginx"),
        event_transform: program("VYR_EVENT_TRANSFORM", "event-transform"),
        dir: work.path().join("servers"),
        server_cpu,
        generator_cpu,
    };
    let plan = Plan {
        quick: arguments.quick,
        scenarios: arguments.scenario,
        out: arguments.out,
        command: std::env::args()
            .skip(1)
            .fold("vyr".into(), |line, word| line + " " + &word),
    };
    let comparison = compare(&setup, &plan, &mut |what| eprintln!("{what}"))?;
    if arguments.json {
        output::json(&comparison)?;
    } else {
        print(&comparison)?;
    }
    let failed: Vec<_> = comparison
        .scenarios
        .iter()
        .filter_map(|scenario| Some(format!("{}: {}", scenario.name, scenario.failed.as_ref()?)))
        .collect();
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        anyhow::bail!("{}", failed.join("\n"))
    }
}

/// A program that a variable names, or that is on the path.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn print(comparison: &Comparison) -> std::io::Result<()> {
    println!("Caveat: one machine, one run, other work beside it; compare within a table only.\n");
    for scenario in &comparison.scenarios {
        println!("{}: {}", scenario.name, scenario.description);
        let number =
            |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
        let rows: Vec<_> = scenario
            .targets
            .iter()
            .map(|target| {
                let mut name = target.name.clone();
                if let Some(reason) = &target.missing {
                    name = format!("{name} (missing: {reason})");
                }
                if target.void.is_some() {
                    name.push_str(" (void)");
                } else if target.void_tail.is_some() {
                    name.push_str(" (p99.9 on: void)");
                }
                for (figure, value) in &target.figures {
                    name = format!("{name} {figure}={value:.2}");
                }
                [
                    name,
                    number(target.cpu_us_per_request),
                    target
                        .peak_rps
                        .map_or(String::new(), |rate| format!("{rate:.0}")),
                    target
                        .offered_rps
                        .map_or(String::new(), |rate| format!("{rate:.0}")),
                    number(target.p50_us),
                    number(target.p90_us),
                    number(target.p99_us),
                    number(target.p999_us),
                    number(target.p9999_us),
                    number(target.max_us),
                    target
                        .errors
                        .map_or(String::new(), |errors| errors.to_string()),
                    number(target.rss_bytes.map(|bytes| bytes as f64 / 1048576.0)),
                ]
            })
            .collect();
        output::table(
            [
                "target",
                "CPU µs",
                "peak/s",
                "at/s",
                "p50 µs",
                "p90 µs",
                "p99 µs",
                "p99.9 µs",
                "p99.99 µs",
                "max µs",
                "errors",
                "MiB",
            ],
            &rows,
        )?;
        if let Some(reason) = scenario
            .targets
            .iter()
            .find_map(|target| target.void.as_ref().or(target.void_tail.as_ref()))
        {
            println!("void, for example: {reason}");
        }
        println!();
    }
    let rows: Vec<_> = comparison
        .ratios
        .iter()
        .map(|ratio| {
            [
                match ratio.met {
                    Some(true) => "met",
                    Some(false) => "missed",
                    None => "",
                }
                .to_owned(),
                ratio
                    .value
                    .map_or("missing or void".into(), |value| format!("{value:.3}")),
                format!("{} {}", ratio.relation, ratio.bar),
                ratio.what.clone(),
            ]
        })
        .collect();
    output::table(["", "value", "bar", "what"], &rows)
}

pub(super) fn report(dir: &Path) -> anyhow::Result<ExitCode> {
    for path in vyr_bench::report::write(dir)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

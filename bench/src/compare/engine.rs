//! What a second shard adds: tasks per second without HTTP, on one processor and on two.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Error;
use super::guests::{HELLO, HELLO_GROW};
use super::measure::Recorder;
use crate::pin;
use crate::results::{Target, median};

/// What `vyr bench engine --json` says.
#[derive(Deserialize)]
struct Figures {
    tasks_per_second: f64,
    per_task: PerTask,
}

#[derive(Deserialize)]
struct PerTask {
    cpu_us: f64,
}

/// The guests, by name; a target's name is a guest's with the number of shards.
pub(super) const GUESTS: [(&str, &[u8]); 2] = [("hello", HELLO), ("hello-grow", HELLO_GROW)];

/// The name of a figure: tasks per second ÷ those of one shard in the same round.
pub(super) const TO_ONE_SHARD: &str = "to_one_shard";

pub(super) fn engine(recorder: &mut Recorder<'_>) -> Result<(), Error> {
    recorder.describe(
        "tasks per second without HTTP, instances fresh, by 'vyr bench engine': one shard, and two on a processor each; in turns".into(),
    );
    for (name, component) in GUESTS {
        let guest = recorder.setup.write(&format!("{name}.wasm"), component)?;
        let guest = guest.to_string_lossy().into_owned();
        let mut runs: [Vec<Figures>; 2] = Default::default();
        for _ in 0..recorder.rounds() {
            for (shards, runs) in (1..).zip(&mut runs) {
                runs.push(run(recorder, &guest, shards)?);
            }
        }
        let rates = |runs: &[Figures]| -> Vec<f64> {
            runs.iter().map(|run| run.tasks_per_second).collect()
        };
        let one_shard = rates(&runs[0]);
        for (shards, runs) in (1..).zip(runs) {
            let quotients = rates(&runs).into_iter().zip(&one_shard);
            let quotients = quotients.map(|(rate, one)| rate / one).collect();
            let cpu_us: Vec<_> = runs.iter().map(|run| run.per_task.cpu_us).collect();
            let target = Target {
                name: format!("{name}-{shards}"),
                cpu_us_per_request: median(cpu_us.clone()),
                cpu_us_rounds: cpu_us,
                peak_rps: median(rates(&runs)),
                figures: median(quotients)
                    .map(|quotient| (TO_ONE_SHARD.to_owned(), quotient))
                    .into_iter()
                    .collect(),
                ..Target::default()
            };
            recorder.say(&format!(
                "  {}: {:.0} tasks per second",
                target.name,
                target.peak_rps.unwrap_or_default()
            ));
            recorder.add(target);
        }
    }
    Ok(())
}

fn run(recorder: &Recorder<'_>, guest: &str, shards: usize) -> Result<Figures, Error> {
    let setup = recorder.setup;
    // No generator: its processor is the second shard's.
    pin::bind(&[setup.server_cpu, setup.generator_cpu]).map_err(Error::Pin)?;
    let output = Command::new(&setup.vyr)
        .args([
            "bench",
            "engine",
            "--json",
            "--skip-calls",
            "--guest",
            guest,
        ])
        .args(["--shards", &shards.to_string()])
        .args(["--duration", if recorder.quick { "500ms" } else { "2s" }])
        .stdin(Stdio::null())
        .output();
    pin::bind(&[setup.generator_cpu]).map_err(Error::Pin)?;
    let output = output?;
    serde_json::from_slice(&output.stdout).map_err(|_| Error::Wrong {
        target: format!("{shards} shards"),
        scenario: "engine".into(),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

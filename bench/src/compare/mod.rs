//! VYR beside other servers: the same requests, interleaved in one run, each server on one processor
//! and the generator on another.
//!
//! CPU time per request and the peak rate are taken in a closed loop, as medians over interleaved
//! rounds; latencies in an open loop with Poisson arrivals at a rate that all targets can carry.

mod engine;
mod guests;
mod measure;
mod ratios;
mod scenarios;
mod server;
mod targets;
mod telemetry;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::latency::write_hgrm;
use crate::results::Comparison;
use crate::{host, pin};

pub use server::Setup;

/// How thoroughly to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Fewer and shorter rounds.
    pub quick: bool,
    /// Scenarios to run; all when empty.
    pub scenarios: Vec<String>,
    /// Where files go, if anywhere.
    pub out: Option<PathBuf>,
    /// The command line, to be noted.
    pub command: String,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read, written or reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The processors are not ours to choose.
    #[error("cannot choose processors ({0}); give this process two of its own, e.g. with taskset")]
    Pin(io::Error),
    /// Generator and servers need a processor each.
    #[error("only {0} processor may be used; generator and servers need one each")]
    Processors(usize),
    /// A program did not start.
    #[error("'{program}' does not start: {cause}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        cause: io::Error,
    },
    /// A server started and does not answer.
    #[error("'{program}' ended, or did not get ready")]
    NotReady {
        /// The program.
        program: String,
    },
    /// An artifact was refused.
    #[error("the artifact '{name}' was not put: {reason}")]
    Put {
        /// The artifact.
        name: String,
        /// What the node said.
        reason: String,
    },
    /// A state was refused.
    #[error("no state was created: {reason}")]
    CreateState {
        /// What the node said.
        reason: String,
    },
    /// A program is not there.
    #[error("'{program}' is not installed; {remedy}")]
    Missing {
        /// The program.
        program: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A server did not answer as it should.
    #[error("{target} in scenario {scenario}: {reason}")]
    Wrong {
        /// The server.
        target: String,
        /// What was done.
        scenario: String,
        /// What was wrong.
        reason: String,
    },
    /// A scenario that does not exist.
    #[error("there is no scenario '{name}'; there are {known}")]
    UnknownScenario {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
}

/// Chooses a processor for the servers and one for the generator.
///
/// # Errors
/// When there is only one.
pub fn processors() -> Result<(usize, usize), Error> {
    match pin::allowed().map_err(Error::Pin)?[..] {
        [server, .., generator] => Ok((server, generator)),
        ref few => Err(Error::Processors(few.len())),
    }
}

/// Runs the scenarios; `progress` is told what is being done.
///
/// A server that cannot be measured is listed as missing, a scenario that cannot be carried out as failed.
///
/// # Errors
/// When there are no processors or no such scenario, or a file cannot be written.
pub fn compare(
    setup: &Setup,
    plan: &Plan,
    progress: &mut dyn FnMut(&str),
) -> Result<Comparison, Error> {
    let known: Vec<&str> = scenarios::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(name) = plan
        .scenarios
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(Error::UnknownScenario {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    pin::bind(&[setup.generator_cpu]).map_err(Error::Pin)?;
    let mut comparison = Comparison {
        host: host(setup),
        command: plan.command.clone(),
        ..Comparison::default()
    };
    for (name, run) in scenarios::ALL {
        if !plan.scenarios.is_empty() && !plan.scenarios.iter().any(|chosen| chosen == name) {
            continue;
        }
        progress(name);
        fs::create_dir_all(&setup.dir)?;
        let mut recorder = measure::Recorder::new(setup, plan, name, progress);
        // The others are measured all the same.
        let failed = run(&mut recorder).err().map(|error| error.to_string());
        if let Some(reason) = &failed {
            recorder.say(&format!("  failed: {reason}"));
        }
        let measured = recorder.finish(failed);
        if let Some(out) = &plan.out {
            write_files(out, &measured)?;
        }
        comparison.scenarios.push(measured.scenario);
        fs::remove_dir_all(&setup.dir)?;
    }
    comparison.ratios = ratios::of(&comparison);
    if let Some(out) = &plan.out {
        let json = serde_json::to_vec_pretty(&comparison).map_err(io::Error::other)?;
        fs::write(out.join("compare.json"), json)?;
    }
    Ok(comparison)
}

fn write_files(out: &Path, measured: &measure::Measured) -> Result<(), Error> {
    fs::create_dir_all(out)?;
    for (target, histogram) in &measured.latencies {
        let file = out.join(format!("{}-{target}.hgrm", measured.scenario.name));
        write_hgrm(histogram, fs::File::create(file)?)?;
    }
    Ok(())
}

fn host(setup: &Setup) -> BTreeMap<String, String> {
    let mut host = host::fingerprint();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let word = text.lines().next()?.trim().to_owned();
        output.status.success().then_some(word)
    };
    let facts = [
        // Of the directory it is run in; that the program was built from it is for its user to see to.
        ("source", run("git", &["describe", "--always", "--dirty"])),
        ("compiler", run("rustc", &["--version"])),
        (
            "sha256 of vyr",
            run("sha256sum", &[&setup.vyr.to_string_lossy()])
                .and_then(|line| Some(line.split_whitespace().next()?.to_owned())),
        ),
    ];
    for (name, fact) in facts {
        host.insert(name.into(), fact.unwrap_or_else(|| "unknown".into()));
    }
    host.insert("servers on processor".into(), setup.server_cpu.to_string());
    host.insert(
        "generator on processor".into(),
        setup.generator_cpu.to_string(),
    );
    let version = |program: &Option<PathBuf>, argument: &str| {
        let output = std::process::Command::new(program.as_ref()?)
            .arg(argument)
            .output()
            .ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Some(text.lines().next()?.trim().to_owned())
    };
    let programs = [
        ("vyr", &Some(setup.vyr.clone()), "--version"),
        ("wasmtime", &setup.wasmtime, "--version"),
        ("workerd", &setup.workerd, "--version"),
        ("nginx", &setup.nginx, "-v"),
    ];
    for (name, program, argument) in programs {
        let found = version(program, argument).unwrap_or_else(|| "missing".into());
        host.insert(format!("version of {name}"), found);
    }
    host
}

//! `vyr`: run WebAssembly artifacts as tasks, on a node or on the spot.

mod arguments;
mod commands;
mod failure;
mod node;
mod output;
mod sink;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// A task makes some dozens of small allocations: this takes a twentieth off its CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::log_to_stderr();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        command,
        connection,
    } = arguments;
    match command {
        Command::Demo => commands::demo::run(),
        Command::Run(run) => commands::run::run(run),
        Command::Node(mut node) => {
            node.token_file = connection.token_file;
            node::run(commands::node::resolve(node)?)
        }
        Command::Key { command } => commands::key::run(command),
        Command::Artifact { command } => commands::artifact::run(command, &connection),
        Command::Task { command } => commands::task::run(command, &connection),
        Command::State { command } => commands::state::run(command, &connection),
        Command::Traces { command } => commands::traces::run(command, &connection),
        Command::Metrics { command } => commands::metrics::run(command, &connection),
        Command::Top(top) => commands::top::run(&top, &connection),
        Command::Bench { command } => commands::bench::run(command),
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Completions { shell } => Ok(commands::completions(shell)),
        Command::ReadingsSink(sink) => {
            let faults = sink::Faults {
                fail_every: sink.fail_every,
                slow_every: sink.slow_every,
                slow: std::time::Duration::from_millis(sink.slow),
            };
            sink::run(sink.listen, &sink.journal, faults)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ShardProcess => node::shard_process(),
        Command::CompileArtifact { wasm, out } => {
            vyr_shard::artifact::compile_file(&wasm, &out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! The commands, one file each.

pub(crate) mod artifact;
pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod doctor;
mod figures;
pub(crate) mod key;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod top;
pub(crate) mod traces;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use tokio::signal::unix::{SignalKind, signal};
use vyr_client::Client;

use crate::arguments::{Arguments, Connection};

/// A client for the node that the command line names.
fn client(connection: &Connection) -> anyhow::Result<Client> {
    let token = match &connection.token_file {
        Some(path) => Some(read_text(path)?.trim().to_owned()),
        None => None,
    };
    Ok(Client::new(&connection.node)?.with_token(token))
}

/// Runs a command's calls to their end.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start the client's runtime")?;
    let result = runtime.block_on(future);
    // A read of standard input that nobody waits for any more must not hold the exit.
    runtime.shutdown_background();
    result
}

/// Runs what has no end of its own until someone stops it, which is no failure.
async fn until_interrupted(
    endless: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let watching = "cannot watch for signals";
    let mut terminated = signal(SignalKind::terminate()).context(watching)?;
    tokio::select! {
        result = endless => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context(watching)?;
            Ok(ExitCode::SUCCESS)
        }
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A directory of the user's by the XDG Base Directory Specification.
fn user_dir(variable: &str, below_home: &str) -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set(variable)
        .or_else(|| set("HOME").map(|home| home.join(below_home)))
        .map(|dir| dir.join("vyr"))
        .with_context(|| {
            format!("neither {variable} nor HOME is set; give the directory on the command line")
        })
}

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(
        shell,
        &mut Arguments::command(),
        "vyr",
        &mut std::io::stdout(),
    );
    ExitCode::SUCCESS
}

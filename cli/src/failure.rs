//! How the command ends when it did not succeed: one line, and a fitting exit code.

use std::process::ExitCode;

use vyr_core::task::{Status, Task};

/// The request failed.
pub(crate) const FAILED: u8 = 1;
/// The command was used wrongly.
pub(crate) const USAGE: u8 = 2;
/// A task reached its time limit.
pub(crate) const TIMED_OUT: u8 = 124;
/// A task was cancelled.
pub(crate) const CANCELLED: u8 = 130;

/// A use of the command that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints an error on one line.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has had enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", format!("{error:#}").replace('\n', "; "));
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The exit code that stands for a task's end; its error goes to standard error.
pub(crate) fn of_task(task: &Task) -> ExitCode {
    if let Some(error) = &task.error
        && error.code != vyr_core::problem::Code::GuestExit
    {
        eprintln!("error: task {}: {}: {}", task.id, error.code, error.message);
    }
    match (task.status, task.exit_code) {
        (Status::Succeeded, _) => ExitCode::SUCCESS,
        (Status::TimedOut, _) => ExitCode::from(TIMED_OUT),
        (Status::Cancelled, _) => ExitCode::from(CANCELLED),
        // Linux keeps eight bits of an exit code; a failure must not become 0 by that.
        (_, Some(code)) => ExitCode::from(
            u8::try_from(code & 0xff)
                .ok()
                .filter(|&c| c > 0)
                .unwrap_or(FAILED),
        ),
        _ => ExitCode::from(FAILED),
    }
}

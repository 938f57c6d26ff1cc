//! The command: its arguments, its summary and its exit code.

use disconnected_collector::{Collector, Settings, SettingsError, USAGE};

use crate::bindings::wasi::cli0_2_0::environment::get_arguments;
use crate::bindings::wasi::random::random::get_random_u64;
use crate::bucket::Bucket;
use crate::say;
use crate::task::Task;

/// Fails when readings stay in the bucket, when the input or the bucket failed, and for arguments
/// that cannot be followed; each with a line on standard error.
pub(crate) fn run() -> Result<(), ()> {
    let arguments = get_arguments();
    let settings = match Settings::parse(arguments.get(1..).unwrap_or_default()) {
        Ok(settings) => settings,
        Err(SettingsError::Help) => return say::out(USAGE),
        Err(error) => return fail(&error.to_string()),
    };
    let bucket = match Bucket::open(&settings.bucket) {
        Ok(bucket) => bucket,
        Err(error) => {
            let name = &settings.bucket;
            return fail(&format!(
                "cannot open the bucket {name:?}: {error}; bind it, or name another with --bucket"
            ));
        }
    };
    let run = (u128::from(get_random_u64()) << 64) | u128::from(get_random_u64());
    let collector = match Collector::open(bucket, &settings, run.to_be_bytes()) {
        Ok(collector) => collector,
        Err(error) => return fail(&error.to_string()),
    };
    let mut task = Task::new(collector, &settings);
    let done = task.run();
    let summary = task.summary();
    let told = say::out(&format!("{summary}\n"));
    if summary.held > 0 {
        say::line(&format!(
            "{} readings stay in the state; a new task bound to it delivers them",
            summary.held
        ));
    }
    match done {
        Err(error) => fail(&error),
        Ok(()) if summary.held > 0 => Err(()),
        Ok(()) => told,
    }
}

fn fail(why: &str) -> Result<(), ()> {
    say::line(why);
    Err(())
}

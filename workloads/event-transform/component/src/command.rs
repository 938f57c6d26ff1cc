//! The command: standard input to standard output, a summary on standard error.

use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::bindings::wasi::cli0_2_0::stdin::get_stdin;
use crate::bindings::wasi::cli0_2_0::stdout::get_stdout;
use crate::bindings::wasi::io::streams::StreamError;
use crate::streams;

/// Fails only when a stream does: dead letters are a result and not a failure.
pub(crate) fn run() -> Result<(), ()> {
    let transformed = streams::transform(&get_stdin(), &get_stdout());
    let said = match &transformed {
        Ok(counts) => format!("{counts}\n"),
        Err(StreamError::Closed) => "event-transform: standard output was closed\n".to_owned(),
        Err(StreamError::LastOperationFailed(error)) => {
            format!("event-transform: a standard stream failed: {}\n", error.to_debug_string())
        }
    };
    let stderr = get_stderr();
    // Nobody is left to tell if standard error fails too.
    let _ = streams::write_all(&stderr, said.as_bytes()).and_then(|()| streams::flush(&stderr));
    transformed.map(drop).map_err(drop)
}

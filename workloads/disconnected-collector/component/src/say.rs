//! What the task says: lines on standard error, the summary on standard output.

use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::bindings::wasi::cli0_2_0::stdout::get_stdout;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// Writes to standard output. Fails when that is closed or broken.
pub(crate) fn out(text: &str) -> Result<(), ()> {
    write_all(&get_stdout(), text.as_bytes()).map_err(drop)
}

/// Writes a line to standard error. Nobody is left to tell if that fails.
pub(crate) fn line(text: &str) {
    let _ = write_all(&get_stderr(), format!("disconnected-collector: {text}\n").as_bytes());
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let permitted = wait_for_room(stream)?;
        let length = usize::try_from(permitted).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(length);
        stream.write(now)?;
        bytes = later;
    }
    stream.flush()?;
    wait_for_room(stream).map(drop)
}

fn wait_for_room(stream: &OutputStream) -> Result<u64, StreamError> {
    loop {
        match stream.check_write()? {
            0 => stream.subscribe().block(),
            permitted => return Ok(permitted),
        }
    }
}

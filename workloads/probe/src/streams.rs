//! Whole writes and bounded reads on `wasi:io/streams`.

use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// How much is asked for in one read.
pub(crate) const CHUNK_BYTES: u64 = 64 * 1024;

/// Writes all of `bytes`, waiting whenever the host has no room. It does not flush.
pub(crate) fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let permitted = wait_for_room(stream)?;
        let length = usize::try_from(permitted).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(length);
        stream.write(now)?;
        bytes = later;
    }
    Ok(())
}

/// Flushes and waits until the host has taken everything.
pub(crate) fn flush(stream: &OutputStream) -> Result<(), StreamError> {
    stream.flush()?;
    wait_for_room(stream).map(drop)
}

/// Reads the next chunk; `None` is the end.
pub(crate) fn read(stream: &InputStream) -> Result<Option<Vec<u8>>, StreamError> {
    match stream.blocking_read(CHUNK_BYTES) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(StreamError::Closed) => Ok(None),
        Err(error) => Err(error),
    }
}

fn wait_for_room(stream: &OutputStream) -> Result<u64, StreamError> {
    loop {
        match stream.check_write()? {
            0 => stream.subscribe().block(),
            permitted => return Ok(permitted),
        }
    }
}

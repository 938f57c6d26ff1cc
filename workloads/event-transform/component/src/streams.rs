//! Bytes through `wasi:io/streams`: big reads, big writes, a flush at the end only.

use event_transform::{Counts, Transformer};

use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// How much is asked for in one read.
const READ_BYTES: u64 = 64 * 1024;

/// Transforms all of `input` to `output`.
pub(crate) fn transform(input: &InputStream, output: &OutputStream) -> Result<Counts, StreamError> {
    let mut transformer = Transformer::new();
    while let Some(chunk) = read(input)? {
        transformer.push(&chunk, |bytes| write_all(output, bytes))?;
    }
    transformer.finish(|bytes| write_all(output, bytes))?;
    flush(output)?;
    Ok(transformer.counts())
}

/// Reads the next chunk; `None` is the end.
pub(crate) fn read(stream: &InputStream) -> Result<Option<Vec<u8>>, StreamError> {
    match stream.blocking_read(READ_BYTES) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(StreamError::Closed) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes everything, waiting whenever the host has no room.
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

fn wait_for_room(stream: &OutputStream) -> Result<u64, StreamError> {
    loop {
        match stream.check_write()? {
            0 => stream.subscribe().block(),
            permitted => return Ok(permitted),
        }
    }
}

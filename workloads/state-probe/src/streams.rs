//! Whole writes on `wasi:io/streams`.

use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// Writes all of `bytes`, in parts that any host takes at once.
pub(crate) fn write_all(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(4096).try_for_each(|part| stream.blocking_write_and_flush(part))
}

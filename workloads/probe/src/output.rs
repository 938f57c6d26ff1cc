//! What the command and the handler produce alike.

use crate::bindings::wasi::cli0_2_0::environment;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::streams;

/// Waits on the host's clock.
pub(crate) fn sleep(duration_ms: u64) {
    monotonic_clock::subscribe_duration(duration_ms.saturating_mul(1_000_000)).block();
}

/// Writes exactly `length_bytes` bytes: lines of 63 `x`, the last one cut short.
pub(crate) fn flood(stream: &OutputStream, length_bytes: u64) -> Result<(), StreamError> {
    let mut chunk = vec![b'x'; 64 * 1024];
    chunk.iter_mut().skip(63).step_by(64).for_each(|byte| *byte = b'\n');
    let mut left = length_bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        streams::write_all(stream, &chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}

/// The environment, sorted, one `NAME=VALUE` a line.
pub(crate) fn environment() -> String {
    let mut variables = environment::get_environment();
    variables.sort();
    variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

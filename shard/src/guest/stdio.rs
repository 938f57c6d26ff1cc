//! Standard input, output and error of a guest.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::control::{Control, Stop};
use super::lock;
use super::log::Log;
use super::pipe::{Pipe, PipeEnd};

/// Most bytes a guest hands over in one write.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What a guest reads.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) control: Arc<Control>,
}

/// Where a guest writes.
#[derive(Clone)]
pub(crate) enum Output {
    /// Kept for later reading; reaching the limit ends the task.
    Kept(Arc<Kept>, Arc<Control>),
    /// Streamed to a client, which may be slower than the guest.
    Streamed(Arc<Pipe>),
    /// Kept as the task's log; what exceeds the limit is dropped and counted.
    Log(Log),
}

/// Bytes kept within a limit.
#[derive(Debug)]
pub(crate) struct Kept {
    limit_bytes: u64,
    state: Mutex<KeptState>,
}

#[derive(Debug, Default)]
struct KeptState {
    bytes: BytesMut,
    dropped_bytes: u64,
}

impl Kept {
    pub(crate) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            state: Mutex::default(),
        })
    }

    /// A copy of what is kept so far.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.lock().bytes)
    }

    pub(crate) fn len(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.lock().dropped_bytes
    }

    /// Keeps what fits; false when something did not.
    pub(super) fn append(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let room = self.limit_bytes.saturating_sub(state.bytes.len() as u64);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        state.bytes.extend_from_slice(&bytes[..fits]);
        state.dropped_bytes += (bytes.len() - fits) as u64;
        fits == bytes.len()
    }

    /// Keeps a line, below what is kept already even if that does not end with one.
    pub(super) fn append_line(&self, line: &str) {
        let whole = self.lock().bytes.last().is_none_or(|last| *last == b'\n');
        self.append(if whole { b"" } else { b"\n" });
        self.append(line.as_bytes());
        self.append(b"\n");
    }

    fn lock(&self) -> MutexGuard<'_, KeptState> {
        lock(&self.state)
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        // Only WASI 0.3 guests ask for this form, and the engine refuses those.
        Box::new(tokio::io::empty())
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|context| self.pipe.poll_readable(context)).await;
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(bytes) = self.pipe.try_read(size) {
            return Ok(bytes);
        }
        match self.pipe.ended() {
            None => Ok(Bytes::new()),
            Some(PipeEnd::Complete) => Err(StreamError::Closed),
            Some(PipeEnd::Broken) => {
                // A guest must not take half an input for a whole one.
                self.control.stop(Stop::InputIncomplete);
                Err(StreamError::trap("the client broke off its input"))
            }
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 guests ask for this form, and the engine refuses those.
        Box::new(tokio::io::sink())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if let Self::Streamed(pipe) = self {
            poll_fn(|context| pipe.poll_room(context)).await;
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self {
            Self::Kept(kept, control) => {
                if !kept.append(&bytes) {
                    control.stop(Stop::OutputFull);
                    return Err(StreamError::trap("the limit of kept output was reached"));
                }
            }
            Self::Streamed(pipe) => {
                if !pipe.push(bytes) {
                    return Err(StreamError::Closed);
                }
            }
            Self::Log(log) => {
                log.write(&bytes);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self {
            Self::Streamed(pipe) => pipe
                .room()
                .map(|room| room.min(WRITE_BYTES_MAX))
                .ok_or(StreamError::Closed),
            Self::Kept(..) | Self::Log(_) => Ok(WRITE_BYTES_MAX),
        }
    }
}

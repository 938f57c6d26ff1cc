//! A bounded stream of bytes between a client and a guest.
//!
//! Either side may be faster: a full pipe makes the writer wait, an empty one the reader. How the
//! writing side ended is part of the stream, so that a reader can tell the end from a breakdown.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::lock;

/// How the writing side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeEnd {
    /// Everything was written.
    Complete,
    /// The writer broke off.
    Broken,
}

/// One direction of a stream. Both ends hold the same pipe.
#[derive(Debug)]
pub struct Pipe {
    capacity_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<PipeEnd>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// An empty pipe that holds about `capacity_bytes`.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity_bytes,
            state: Mutex::default(),
        })
    }

    /// A pipe that holds `bytes` and nothing more.
    #[must_use]
    pub fn holding(bytes: Bytes) -> Arc<Self> {
        let pipe = Self::new(bytes.len());
        pipe.push(bytes);
        pipe.end(PipeEnd::Complete);
        pipe
    }

    /// Writes a chunk when there is room, waiting for it. False when the reader has gone.
    pub async fn write(&self, chunk: Bytes) -> bool {
        poll_fn(|context| self.poll_room(context)).await && self.push(chunk)
    }

    /// Ends the stream; the first end counts.
    pub fn end(&self, end: PipeEnd) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        wake(&mut state.reader);
    }

    /// The reader takes no more: what is buffered is dropped and the writer told.
    pub fn close_reader(&self) {
        let mut state = self.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.bytes = 0;
        wake(&mut state.writer);
    }

    /// Takes the next chunk; `None` at the end, which [`Pipe::ended`] then tells.
    pub fn poll_read(&self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if let Some(chunk) = state.take(usize::MAX) {
            return Poll::Ready(Some(chunk));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// How the writing side ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<PipeEnd> {
        self.lock().end
    }

    /// Takes up to `size` bytes if there are any.
    pub(super) fn try_read(&self, size: usize) -> Option<Bytes> {
        self.lock().take(size)
    }

    /// Ready when there are bytes or the end to be read.
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.chunks.is_empty() || state.end.is_some() {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ready with true when there is room, with false when the reader has gone.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.reader_gone {
            return Poll::Ready(false);
        }
        if state.bytes < self.capacity_bytes || state.bytes == 0 {
            return Poll::Ready(true);
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Bytes that fit now; `None` when the reader has gone.
    pub(super) fn room(&self) -> Option<usize> {
        let state = self.lock();
        (!state.reader_gone).then(|| self.capacity_bytes.saturating_sub(state.bytes))
    }

    /// Adds a chunk whether or not it fits. False when the reader has gone.
    pub(super) fn push(&self, chunk: Bytes) -> bool {
        let mut state = self.lock();
        if state.reader_gone {
            return false;
        }
        if !chunk.is_empty() {
            state.bytes += chunk.len();
            state.chunks.push_back(chunk);
            wake(&mut state.reader);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn take(&mut self, size: usize) -> Option<Bytes> {
        let front = self.chunks.front_mut()?;
        let chunk = if front.len() <= size {
            self.chunks.pop_front()?
        } else {
            front.split_to(size)
        };
        self.bytes -= chunk.len();
        wake(&mut self.writer);
        Some(chunk)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    async fn read(pipe: &Pipe) -> Option<Bytes> {
        poll_fn(|context| pipe.poll_read(context)).await
    }

    #[test]
    fn a_full_pipe_makes_the_writer_wait() {
        block_on(async {
            let pipe = Pipe::new(4);
            assert!(
                pipe.write(Bytes::from_static(b"abcdef")).await,
                "one chunk may exceed the capacity"
            );
            assert!(
                poll_once(pipe.write(Bytes::from_static(b"g")))
                    .await
                    .is_none()
            );
            assert_eq!(pipe.try_read(4).as_deref(), Some(&b"abcd"[..]));
            assert!(pipe.write(Bytes::from_static(b"g")).await);
            pipe.end(PipeEnd::Complete);
            assert_eq!(read(&pipe).await.as_deref(), Some(&b"ef"[..]));
            assert_eq!(read(&pipe).await.as_deref(), Some(&b"g"[..]));
            assert_eq!(read(&pipe).await, None);
            assert_eq!(pipe.ended(), Some(PipeEnd::Complete));
        });
    }

    #[test]
    fn a_writer_learns_that_its_reader_has_gone() {
        block_on(async {
            let pipe = Pipe::new(1);
            assert!(pipe.write(Bytes::from_static(b"ab")).await);
            pipe.close_reader();
            assert!(!pipe.write(Bytes::from_static(b"c")).await);
        });
    }

    #[test]
    fn the_first_end_counts() {
        let pipe = Pipe::new(1);
        pipe.end(PipeEnd::Broken);
        pipe.end(PipeEnd::Complete);
        assert_eq!(pipe.ended(), Some(PipeEnd::Broken));
    }
}

//! The shard's streams and timers as hyper wants them.

#![expect(
    unsafe_code,
    reason = "hyper's read cursor is advanced by an unsafe call"
)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use vyr_shard::rt;

/// Up to so many bytes are copied together and sent by the plain call: that costs less than the kernel's way of
/// gathering them. Most responses of head and body are smaller.
const GATHERED_BYTES_MAX: usize = 1024;

/// A connection whose peer must take what it is sent within a time.
pub(crate) struct Connection {
    stream: rt::Stream,
    write_pause_max: Duration,
    stalled: Option<Pin<Box<rt::Sleep>>>,
    /// Before the next write, if writes are held.
    hold: Option<rt::YieldNow>,
}

impl Connection {
    pub(crate) fn new(stream: rt::Stream, write_pause_max: Duration) -> Self {
        Self {
            stream,
            write_pause_max,
            stalled: None,
            hold: None,
        }
    }

    /// Lets each write wait until the tasks that are ready now have run. So guests run one after the
    /// other, and then the kernel sends one response after the other, instead of the two taking turns
    /// in the processor's caches.
    pub(crate) fn holding_writes(mut self) -> Self {
        self.hold = Some(rt::yield_now());
        self
    }

    fn poll_hold(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold {
            ready!(Pin::new(hold).poll(context));
        }
        Poll::Ready(())
    }

    /// Passes a write's outcome on; a write that waits too long is an error.
    fn watch_stall(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            if self.hold.is_some() {
                self.hold = Some(rt::yield_now());
            }
            return written;
        }
        let pause_max = self.write_pause_max;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(rt::sleep(pause_max)));
        ready!(stalled.as_mut().poll(context));
        let message = format!(
            "the client left its response unread for {} ms",
            pause_max.as_millis()
        );
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: the bytes are only written to, by the stream, which tells how many it wrote.
        let free = unsafe { buffer.as_mut() };
        let count = ready!(self.stream.poll_read(context, free))?;
        // SAFETY: the stream initialised `count` bytes at the start of the free part.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hold(context));
        let written = self.stream.poll_write(context, bytes);
        self.watch_stall(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hold(context));
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = if bytes <= GATHERED_BYTES_MAX {
            let mut gathered = [0; GATHERED_BYTES_MAX];
            let mut end = 0;
            for slice in slices {
                gathered[end..end + slice.len()].copy_from_slice(slice);
                end += slice.len();
            }
            self.stream.poll_write(context, &gathered[..end])
        } else {
            self.stream.poll_write_vectored(context, slices)
        };
        self.watch_stall(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        rt::Stream::is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(context)
    }
}

/// The executor's timer.
#[derive(Clone, Copy)]
pub(crate) struct RtTimer;

struct RtSleep(rt::Sleep);

impl Future for RtSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Sleep for RtSleep {}

impl Timer for RtTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(RtSleep(rt::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(RtSleep(rt::sleep_until(deadline)))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        if let Some(sleep) = sleep.as_mut().downcast_mut_pin::<RtSleep>() {
            sleep.get_mut().0.reset(deadline);
        } else {
            *sleep = self.sleep_until(deadline);
        }
    }
}

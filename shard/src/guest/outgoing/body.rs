//! The body of a response to a guest, within its bounds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use wasmtime_wasi_http::Error;

use crate::rt;

/// A response's body whose sender must not pause, last or send too much.
pub(super) struct Received {
    incoming: Incoming,
    pause_max: Duration,
    deadline: Instant,
    bytes_max: u64,
    bytes: u64,
    /// While the sender pauses.
    paused: Option<Pin<Box<rt::Sleep>>>,
}

impl Received {
    pub(super) fn new(
        incoming: Incoming,
        pause_max: Duration,
        deadline: Instant,
        bytes_max: u64,
    ) -> Self {
        Self {
            incoming,
            pause_max,
            deadline,
            bytes_max,
            bytes: 0,
            paused: None,
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                this.paused = None;
                let Some(Ok(frame)) = frame else {
                    return Poll::Ready(
                        frame.map(|result| result.map_err(|error| of_broken(&error))),
                    );
                };
                if Instant::now() >= this.deadline {
                    return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
                }
                this.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                if this.bytes > this.bytes_max {
                    let bytes_max = this.bytes_max;
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(bytes_max)))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let (pause_max, deadline) = (this.pause_max, this.deadline);
                let paused = this.paused.get_or_insert_with(|| {
                    Box::pin(rt::sleep_until(deadline.min(Instant::now() + pause_max)))
                });
                paused.as_mut().poll(context).map(|()| {
                    Some(Err(if Instant::now() >= deadline {
                        Error::HttpResponseTimeout
                    } else {
                        Error::ConnectionReadTimeout
                    }))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What a guest is told when a body ends before its end.
fn of_broken(error: &hyper::Error) -> Error {
    if error.is_parse() {
        Error::HttpProtocolError
    } else {
        Error::HttpResponseIncomplete
    }
}

//! The body of a response to a guest, within its bounds.
//!
//! Two hold it: the guest, which reads it or does not, and the exchange, which ends it in any case.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error;

use crate::rt;

/// `None` once the exchange has ended.
type Shared = Rc<RefCell<Option<Incoming>>>;

/// The guest's side: a body whose sender must not pause, last or send too much.
pub(super) struct Received {
    incoming: SendWrapper<Shared>,
    pause_max: Duration,
    deadline: Instant,
    bytes_max: u64,
    bytes: u64,
    /// While the sender pauses.
    paused: Option<Pin<Box<rt::Sleep>>>,
    /// Until the body has been read to its end.
    reading: Option<oneshot::Sender<()>>,
}

/// The exchange's side. Dropped, it ends the body, and the connection if there was more to come.
pub(super) struct Sending {
    incoming: Shared,
    deadline: Instant,
    /// Ends when nobody reads any more.
    reading: oneshot::Receiver<()>,
}

impl Sending {
    /// Waits until the body was read, was given up, or has taken too long, whether anybody reads it or not.
    pub(super) async fn until_over(&mut self) {
        let read = async {
            let _ = (&mut self.reading).await;
        };
        futures_lite::future::or(read, rt::sleep_until(self.deadline)).await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.incoming.borrow_mut().take();
    }
}

/// Both sides of a body.
pub(super) fn share(
    incoming: Incoming,
    pause_max: Duration,
    deadline: Instant,
    bytes_max: u64,
) -> (Received, Sending) {
    let (reading, until_read) = oneshot::channel();
    let is_empty = incoming.is_end_stream();
    let incoming = Rc::new(RefCell::new(Some(incoming)));
    let received = Received {
        incoming: SendWrapper::new(Rc::clone(&incoming)),
        pause_max,
        deadline,
        bytes_max,
        bytes: 0,
        paused: None,
        reading: (!is_empty).then_some(reading),
    };
    let sending = Sending {
        incoming,
        deadline,
        reading: until_read,
    };
    (received, sending)
}

impl Received {
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut incoming = self.incoming.borrow_mut();
        let Some(incoming) = incoming.as_mut() else {
            let late = Instant::now() >= self.deadline;
            return Poll::Ready(Some(Err(if late {
                Error::HttpResponseTimeout
            } else {
                Error::ConnectionTerminated
            })));
        };
        match Pin::new(&mut *incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.paused = None;
                let Some(Ok(frame)) = frame else {
                    return Poll::Ready(
                        frame.map(|result| result.map_err(|error| of_broken(&error))),
                    );
                };
                if Instant::now() >= self.deadline {
                    return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
                }
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.bytes > self.bytes_max {
                    let bytes_max = self.bytes_max;
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(bytes_max)))));
                }
                if incoming.is_end_stream() {
                    self.reading = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let (pause_max, deadline) = (self.pause_max, self.deadline);
                let paused = self.paused.get_or_insert_with(|| {
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
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.reading.is_none() {
            return Poll::Ready(None);
        }
        let polled = self.poll_incoming(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.reading = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.borrow();
        incoming
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
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

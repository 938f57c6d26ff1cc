//! Bodies of requests and responses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use vyr_core::problem::Code;
use vyr_shard::{BodyError, Pipe, PipeEnd, Task, rt};

use crate::failure::Failure;

/// What is read of a request's body that nobody wants, at most.
const DRAIN_BYTES_MAX: usize = 16 << 20;
/// How long it is read, at most.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// A request's body whose sender must not pause too long.
///
/// What is left of it when nobody wants it any more is read and thrown away within bounds: a connection
/// that is closed over unread bytes can lose the answer that says why.
pub(crate) struct RequestBody {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    pause_max: Duration,
    paused: Option<Pin<Box<rt::Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, pause_max: Duration) -> Self {
        Self {
            incoming: Some(incoming),
            pause_max,
            paused: None,
        }
    }

    /// The whole body, of at most `bytes_max`, within `time_max`.
    pub(crate) async fn collect(
        self,
        bytes_max: usize,
        time_max: Duration,
    ) -> Result<Bytes, Failure> {
        if self.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        let too_slow =
            |why: String| Failure::new(Code::RequestTimeout, format!("the request body: {why}"));
        match rt::timeout(time_max, Limited::new(self, bytes_max).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(too_large(bytes_max))
            }
            Ok(Err(error)) => Err(too_slow(error.to_string())),
            Err(_) => Err(too_slow(format!(
                "it did not arrive within {} ms",
                time_max.as_millis()
            ))),
        }
    }

    /// Feeds the body into a task's input, as fast as the task reads. Returns when everything is
    /// taken, the task reads no more, or the client broke off, which the task then learns.
    pub(crate) async fn feed(mut self, input: Arc<Pipe>) {
        let feeding = Feeding(input);
        while let Some(frame) = self.frame().await {
            let Ok(frame) = frame else { return };
            if let Ok(chunk) = frame.into_data()
                && !feeding.0.write(chunk).await
            {
                return;
            }
        }
        feeding.0.end(PipeEnd::Complete);
    }
}

/// Breaks the input off unless it was completed: a dropped request must not look like a whole one.
struct Feeding(Arc<Pipe>);

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.end(PipeEnd::Broken);
    }
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::new(
        Code::RequestTooLarge,
        format!("the request body is larger than the bound of {bytes_max} bytes"),
    )
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                this.paused = None;
                Poll::Ready(
                    frame.map(|result| result.map_err(|error| BodyError(error.to_string()))),
                )
            }
            Poll::Pending => {
                let pause_max = this.pause_max;
                let paused = this
                    .paused
                    .get_or_insert_with(|| Box::pin(rt::sleep(pause_max)));
                paused.as_mut().poll(context).map(|()| {
                    let pause_ms = pause_max.as_millis();
                    Some(Err(BodyError(format!(
                        "the client paused for more than {pause_ms} ms"
                    ))))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take()
            && !incoming.is_end_stream()
        {
            rt::spawn(async move {
                // Whether all of it came makes no difference.
                let _ = rt::timeout(DRAIN_TIME_MAX, drain(incoming)).await;
            });
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = incoming.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A response's body.
pub(crate) enum ResponseBody {
    /// Known bytes.
    Full(Option<Bytes>),
    /// A guest's own response.
    Guest(vyr_shard::ResponseBody),
    /// A task's output as it comes.
    Output(OutputStream),
    /// Another shard's answer.
    Forwarded(Incoming),
    /// Server-sent events as they come.
    Events(tokio::sync::mpsc::Receiver<Bytes>),
}

/// A task's streamed output; dropped before its end, it ends the task: its client has gone.
pub(crate) struct OutputStream {
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) task: std::rc::Rc<Task>,
}

impl Drop for OutputStream {
    fn drop(&mut self) {
        self.pipe.close_reader();
        if self.pipe.ended().is_none() {
            self.task.abandon();
        }
    }
}

impl ResponseBody {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Guest(body) => Pin::new(body).poll_frame(context),
            Self::Output(output) => output.pipe.poll_read(context).map(|chunk| match chunk {
                Some(chunk) => Some(Ok(Frame::data(chunk))),
                None => match output.pipe.ended() {
                    Some(PipeEnd::Broken) => {
                        Some(Err(BodyError("the task did not succeed".into())))
                    }
                    _ => None,
                },
            }),
            Self::Events(events) => events
                .poll_recv(context)
                .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
            Self::Forwarded(body) => Pin::new(body).poll_frame(context).map(|frame| {
                frame.map(|result| result.map_err(|error| BodyError(error.to_string())))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Guest(body) => body.is_end_stream(),
            Self::Output(_) | Self::Events(_) => false,
            Self::Forwarded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Guest(body) => body.size_hint(),
            Self::Output(_) | Self::Events(_) => SizeHint::default(),
            Self::Forwarded(body) => body.size_hint(),
        }
    }
}

//! Bodies that guests write, of responses and of requests: the resource `outgoing-body` of `wasi:http/types`, in
//! place of wasmtime's, which it is like to its guest and its reader.
//!
//! wasmtime's makes two channels for each body and keeps five futures on the heap during each blocking write, which
//! was a good part of what a brief task allocates.
//!
//! Invariant: a body holds [`CHUNKS_MAX`] chunks of [`CHUNK_BYTES_MAX`] bytes at most; a guest that is faster than
//! its reader waits.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::{HyperOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{Error, FieldMap};

use super::{Guest, lock};

/// Where wasmtime defines what is replaced here.
const INTERFACE: &str = "wasi:http/types@0.2.12";
/// Chunks that are written and not yet read.
const CHUNKS_MAX: usize = 2;
/// Bytes of one chunk.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A body that a guest writes.
struct OutgoingBody {
    shared: Arc<Mutex<State>>,
    context: StreamContext,
    /// What `content-length` says.
    length: Option<u64>,
    /// Whether the guest has asked for the stream, which it may do once.
    is_streamed: bool,
}

#[derive(Default)]
struct State {
    chunks: [Option<Bytes>; CHUNKS_MAX],
    /// Bytes written so far.
    written: u64,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// How the guest ended a body.
enum End {
    Complete,
    Trailers(HeaderMap),
    Broken,
}

/// What the guest writes to.
struct Stream {
    shared: Arc<Mutex<State>>,
    context: StreamContext,
    length: Option<u64>,
}

/// What the body is read from.
struct Reader(Arc<Mutex<State>>);

/// Replaces wasmtime's bodies.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(INTERFACE)?;
    let resource = ResourceType::host::<OutgoingBody>();
    types.resource("outgoing-body", resource, |mut store, handle| {
        let body = Resource::<OutgoingBody>::new_own(handle);
        store.data_mut().table.delete(body)?.end(End::Broken);
        Ok(())
    })?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store, (response,): (Resource<HostOutgoingResponse>,)| {
            let table = &mut store.data_mut().table;
            let response = table.get_mut(&response)?;
            let body = begin(
                StreamContext::Response,
                &response.headers,
                &mut response.body,
            );
            Ok((body.map(|body| table.push(body)).transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store, (request,): (Resource<HostOutgoingRequest>,)| {
            let table = &mut store.data_mut().table;
            let request = table.get_mut(&request)?;
            let body = begin(StreamContext::Request, &request.headers, &mut request.body);
            Ok((body.map(|body| table.push(body)).transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store, (body,): (Resource<OutgoingBody>,)| {
            let table = &mut store.data_mut().table;
            let stream = table.get_mut(&body)?.stream();
            let stream = stream.map(|stream| table.push_child(stream, &body));
            Ok((stream.transpose()?.ok_or(()),))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store, (body, trailers): (Resource<OutgoingBody>, Option<Resource<FieldMap>>)| {
            let table = &mut store.data_mut().table;
            let body = table.delete(body)?;
            let trailers = trailers
                .map(|trailers| table.delete(trailers))
                .transpose()?;
            Ok((body.finish(trailers.map(HeaderMap::from)),))
        },
    )
}

/// The body of a request or a response, whose other end goes to `place`. `None` if there is one already, or if
/// `content-length` is not a number.
fn begin(
    context: StreamContext,
    headers: &HeaderMap,
    place: &mut Option<HyperOutgoingBody>,
) -> Option<OutgoingBody> {
    let length = content_length(headers).ok()?;
    if place.is_some() {
        return None;
    }
    let (body, reader) = OutgoingBody::new(context, length);
    *place = Some(reader.boxed_unsync());
    Some(body)
}

/// The number of bytes that the headers promise: one header at most, of decimal digits (RFC 9110, 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.as_bytes().iter().all(u8::is_ascii_digit) => {
            let text = value.to_str().map_err(drop)?;
            text.parse().map(Some).map_err(drop)
        }
        _ => Err(()),
    }
}

impl OutgoingBody {
    fn new(context: StreamContext, length: Option<u64>) -> (Self, Reader) {
        let shared = Arc::<Mutex<State>>::default();
        let reader = Reader(Arc::clone(&shared));
        let body = Self {
            shared,
            context,
            length,
            is_streamed: false,
        };
        (body, reader)
    }

    fn stream(&mut self) -> Option<DynOutputStream> {
        if std::mem::replace(&mut self.is_streamed, true) {
            return None;
        }
        Some(Box::new(Stream {
            shared: Arc::clone(&self.shared),
            context: self.context,
            length: self.length,
        }))
    }

    /// Ends the body; it breaks off if it is not as long as was promised.
    fn finish(self, trailers: Option<HeaderMap>) -> Result<(), ErrorCode> {
        let written = lock(&self.shared).written;
        if self.length.is_some_and(|length| length != written) {
            self.end(End::Broken);
            return Err(self.context.as_body_size_error(written));
        }
        self.end(trailers.map_or(End::Complete, End::Trailers));
        Ok(())
    }

    fn end(&self, end: End) {
        let mut state = lock(&self.shared);
        state.end.get_or_insert(end);
        wake(&mut state.reader);
    }
}

/// The guest is gone and has left its body as it is; whether that is an error, its task tells.
impl Drop for OutgoingBody {
    fn drop(&mut self) {
        self.end(End::Complete);
    }
}

impl State {
    fn push(&mut self, chunk: Bytes) {
        let free = self.chunks.iter_mut().find(|place| place.is_none());
        debug_assert!(free.is_some(), "whoever writes has looked for room");
        if let Some(free) = free {
            self.written += chunk.len() as u64;
            *free = Some(chunk);
            wake(&mut self.reader);
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let first = self.chunks[0].take()?;
        self.chunks.rotate_left(1);
        wake(&mut self.writer);
        Some(first)
    }

    /// Whether a chunk may be written now.
    fn has_room(&self) -> StreamResult<bool> {
        if self.reader_gone {
            return Err(StreamError::Closed);
        }
        Ok(self.chunks.iter().any(Option::is_none))
    }
}

impl Stream {
    /// Waits until a chunk may be written, or the reader has gone.
    async fn room(&self) -> StreamResult<()> {
        poll_fn(|context| {
            let mut state = lock(&self.shared);
            match state.has_room() {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => {
                    state.writer = Some(context.waker().clone());
                    Poll::Pending
                }
                Err(closed) => Poll::Ready(Err(closed)),
            }
        })
        .await
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        // That the reader has gone is for the next call to tell.
        let _ = self.room().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = lock(&self.shared);
        if bytes.len() > CHUNK_BYTES_MAX || !state.has_room()? {
            return Err(StreamError::trap("write exceeded budget"));
        }
        state.push(bytes);
        match self.length {
            Some(length) if state.written > length => {
                let error = self.context.as_body_size_error(state.written);
                Err(StreamError::LastOperationFailed(error.into()))
            }
            _ => Ok(()),
        }
    }

    /// Nothing is buffered that the reader cannot take.
    fn flush(&mut self) -> StreamResult<()> {
        lock(&self.shared).has_room().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let has_room = lock(&self.shared).has_room()?;
        Ok(if has_room { CHUNK_BYTES_MAX } else { 0 })
    }

    /// As the trait has it, in one future instead of five.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        loop {
            self.room().await?;
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES_MAX));
            self.write(chunk)?;
            if bytes.is_empty() {
                break;
            }
        }
        // All is written; that the reader has gone since is for the next call to tell.
        let _ = self.room().await;
        Ok(())
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = lock(&self.0);
        if let Some(chunk) = state.pop() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(end) = &mut state.end else {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(match std::mem::replace(end, End::Complete) {
            End::Complete => None,
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::Broken => Some(Err(Error::HttpProtocolError)),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.reader_gone = true;
        state.chunks = Default::default();
        wake(&mut state.writer);
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

    const CONTEXT: StreamContext = StreamContext::Response;

    async fn next(reader: &mut Reader) -> Option<Result<Bytes, ()>> {
        let frame = reader.frame().await?;
        Some(
            frame
                .map(|frame| frame.into_data().expect("data"))
                .map_err(drop),
        )
    }

    #[test]
    fn a_guest_that_is_faster_than_its_reader_waits() {
        block_on(async {
            let (mut body, mut reader) = OutgoingBody::new(CONTEXT, None);
            let mut stream = body.stream().expect("the first time");
            assert!(body.stream().is_none());
            assert_eq!(stream.check_write().ok(), Some(CHUNK_BYTES_MAX));
            stream.write(Bytes::from_static(b"1")).expect("room");
            let waits = poll_once(stream.blocking_write_and_flush(Bytes::from_static(b"2"))).await;
            assert!(waits.is_none(), "it is written, and waits for room");
            assert_eq!(stream.check_write().ok(), Some(0));
            let refused = stream.write(Bytes::from_static(b"3"));
            assert!(matches!(refused, Err(StreamError::Trap(_))));
            assert!(poll_once(stream.ready()).await.is_none());
            for text in ["1", "2"] {
                let chunk = next(&mut reader).await.expect("a chunk");
                assert_eq!(chunk, Ok(Bytes::from(text)));
                assert!(poll_once(stream.ready()).await.is_some());
            }
            assert!(poll_once(next(&mut reader)).await.is_none());
            drop(reader);
            stream.ready().await;
            let closed = stream.write(Bytes::from_static(b"4"));
            assert!(matches!(closed, Err(StreamError::Closed)));
            assert!(matches!(stream.flush(), Err(StreamError::Closed)));
        });
    }

    #[test]
    fn an_end_is_read_after_all_chunks() {
        block_on(async {
            let trailers: HeaderMap = [(CONTENT_LENGTH, "1".parse().expect("a value"))]
                .into_iter()
                .collect();
            let broken = Some(Err(()));
            for end in 0..4 {
                let (mut body, mut reader) = OutgoingBody::new(CONTEXT, None);
                let mut stream = body.stream().expect("the first time");
                stream.write(Bytes::from_static(b"1")).expect("room");
                drop(stream);
                assert_eq!(next(&mut reader).await, Some(Ok(Bytes::from_static(b"1"))));
                assert!(poll_once(reader.frame()).await.is_none());
                let expected = match end {
                    0 => body.finish(None).map_or(broken.clone(), |()| None),
                    1 => {
                        body.finish(Some(trailers.clone())).expect("no length");
                        let frame = reader.frame().await.expect("a frame").expect("whole");
                        assert_eq!(frame.into_trailers().ok(), Some(trailers.clone()));
                        None
                    }
                    2 => {
                        body.end(End::Broken);
                        broken.clone()
                    }
                    _ => {
                        drop(body);
                        None
                    }
                };
                assert_eq!(next(&mut reader).await, expected);
                assert_eq!(next(&mut reader).await, None);
            }
        });
    }

    #[test]
    fn a_body_is_as_long_as_was_promised_or_breaks_off() {
        block_on(async {
            for (written, fits) in [(0, false), (2, false), (3, true), (4, false)] {
                let (mut body, mut reader) = OutgoingBody::new(CONTEXT, Some(3));
                let mut stream = body.stream().expect("the first time");
                let wrote = stream.write(Bytes::from(vec![0; written]));
                assert_eq!(wrote.is_ok(), written <= 3);
                drop(stream);
                assert_eq!(body.finish(None).is_ok(), fits);
                assert!(next(&mut reader).await.is_some());
                assert_eq!(next(&mut reader).await.is_none(), fits, "{written}");
            }
        });
    }

    #[test]
    fn a_length_is_one_number() {
        let length = |values: &[&'static str]| {
            let values = values.iter().map(|value| value.parse().expect("a value"));
            content_length(&values.map(|value| (CONTENT_LENGTH, value)).collect())
        };
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["17"]), Ok(Some(17)));
        for wrong in [
            &["+1"][..],
            &[""],
            &["1a"],
            &["1", "1"],
            &["99999999999999999999"],
        ] {
            assert_eq!(length(wrong), Err(()), "{wrong:?}");
        }
    }
}

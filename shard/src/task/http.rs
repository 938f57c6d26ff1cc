//! An HTTP task: one request to `wasi:http/incoming-handler`, one response, bodies streamed.
//!
//! The guest runs inside the future that waits for its response. Only when the response is there
//! before the guest has ended, as with a streamed body, does the rest of the guest get a task of
//! the executor.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use vyr_core::problem::Code;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::lifecycle::{begin, instantiated};
use super::{Outcome, Task};
use crate::admission::Ticket;
use crate::artifact::Loaded;
use crate::guest::{self, Guarded, Guest, HttpInstance, Wiring, lock};
use crate::rt;
use crate::shard::Shard;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

impl From<BodyError> for wasmtime_wasi_http::Error {
    fn from(_: BodyError) -> Self {
        Self::ConnectionTerminated
    }
}

/// The body of a guest's response. Dropped before its end, it ends the task: its client has gone.
pub struct ResponseBody {
    body: HyperOutgoingBody,
    task: Rc<Task>,
    /// Bytes that the client is still to get, when the response says how many: who sends it stops
    /// there and does not ask for the end.
    left_bytes: Option<u64>,
    at_end: bool,
}

type GuestResponse = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Takes the task through its life up to its response. `None` when there is none: the task has
/// ended and says why.
pub(crate) async fn run<B>(
    shard: &Rc<Shard>,
    task: &Rc<Task>,
    loaded: Rc<Loaded>,
    request: Request<B>,
    ticket: Ticket,
) -> Option<Response<ResponseBody>>
where
    B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
{
    let is_head = request.method() == Method::HEAD;
    let running = begin(shard, task, ticket).await?;
    let control = Arc::clone(&task.control);
    let mut source = match loaded.idle.take() {
        Some(mut instance) => {
            task.set_reused();
            instance.attach(
                &task.limits,
                &control,
                &task.log,
                task.bindings.borrow().bound(),
                task.subject(),
            );
            Source::Idle(instance)
        }
        None => Source::Fresh(new_store(shard, task, &loaded)),
    };
    let slot = ResponseSlot::default();
    let mut view = source.store().data_mut().http();
    let resources = view
        .new_incoming_request(Scheme::Http, request)
        .and_then(|request| {
            let slot = slot.clone();
            let outparam = view.new_response_outparam_from_callback(move |it| slot.put(it))?;
            Ok((request, outparam))
        });
    let (request, outparam) = match resources {
        Ok(resources) => resources,
        Err(error) => {
            running.finish(Outcome::failed(Code::RequestInvalid, format!("{error:#}")));
            return None;
        }
    };
    let guest = {
        let (shard, task, loaded) = (Rc::clone(shard), Rc::clone(task), Rc::clone(&loaded));
        async move {
            let mut instance = match source {
                Source::Idle(instance) => instance,
                Source::Fresh(mut store) => {
                    let proxy = loaded.http()?.instantiate_async(&mut store).await?;
                    HttpInstance::new(store, proxy)
                }
            };
            instantiated(&shard, &task);
            let handler = instance.proxy.wasi_http_incoming_handler();
            handler
                .call_handle(&mut instance.store, request, outparam)
                .await?;
            Ok(instance)
        }
    };
    let mut guest = Guarded::new(guest, control);
    // Only the guest puts a response there, so it is enough to look when the guest has been polled.
    let first = poll_fn(|context| match Pin::new(&mut guest).poll(context) {
        Poll::Ready(ended) => Poll::Ready(First::Ended(ended)),
        Poll::Pending => match slot.take() {
            Some(response) => Poll::Ready(First::Response(response)),
            None => Poll::Pending,
        },
    })
    .await;
    let response = match first {
        First::Ended(ended) => {
            let response = slot.take();
            note_status(task, response.as_ref());
            running.finish_guest(ended, |instance| {
                loaded.idle.give_back(instance);
                judge(response.as_ref())
            });
            response
        }
        First::Response(response) => {
            let outcome = judge(Some(&response));
            note_status(task, Some(&response));
            rt::spawn(async move {
                let ended = guest.await;
                running.finish_guest(ended, |instance| {
                    loaded.idle.give_back(instance);
                    outcome
                });
            });
            Some(response)
        }
    };
    if task.error().is_some() {
        return None;
    }
    let response = response?.ok()?;
    let left_bytes = body_bytes(is_head, &response);
    Some(response.map(|body| ResponseBody {
        body,
        task: Rc::clone(task),
        left_bytes,
        at_end: left_bytes == Some(0),
    }))
}

enum First<T> {
    Ended(T),
    Response(GuestResponse),
}

/// Where a guest puts its response.
#[derive(Clone, Default)]
struct ResponseSlot(Arc<Mutex<Option<GuestResponse>>>);

impl ResponseSlot {
    fn put(&self, response: GuestResponse) {
        *lock(&self.0) = Some(response);
    }

    fn take(&self) -> Option<GuestResponse> {
        lock(&self.0).take()
    }
}

/// Bytes of a response's body as HTTP sends it, if they are known before (RFC 9112, 6.3).
fn body_bytes<B>(is_head: bool, response: &Response<B>) -> Option<u64> {
    let without_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    if is_head || without_body.contains(&response.status()) {
        return Some(0);
    }
    let length = response.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn note_status(task: &Task, response: Option<&GuestResponse>) {
    if let Some(Ok(response)) = response {
        task.set_response(response.status().as_u16());
    }
}

/// The outcome of a guest that ran to its end.
fn judge(response: Option<&GuestResponse>) -> Outcome {
    match response {
        Some(Ok(_)) => Outcome::succeeded(None),
        Some(Err(code)) => Outcome::failed(
            Code::GuestNoResponse,
            format!("the guest answered with the error {code} instead of a response"),
        ),
        None => Outcome::failed(
            Code::GuestNoResponse,
            "the guest ended without a response; it must call 'response-outparam.set'",
        ),
    }
}

/// Where a task's instance comes from.
enum Source {
    Idle(HttpInstance),
    /// It is to be made in this store.
    Fresh(Store<Guest>),
}

impl Source {
    fn store(&mut self) -> &mut Store<Guest> {
        match self {
            Self::Idle(instance) => &mut instance.store,
            Self::Fresh(store) => store,
        }
    }
}

fn new_store(shard: &Shard, task: &Task, loaded: &Loaded) -> Store<Guest> {
    let wiring = Wiring {
        standard: None,
        log: Arc::clone(&task.log),
        states: Rc::clone(&shard.states),
        bound: task.bindings.borrow().bound(),
        client: Rc::clone(&shard.client),
        artifact: task.artifact,
        hosts: Arc::clone(&loaded.hosts),
        steps: Rc::clone(&shard.steps),
        subject: task.subject(),
        config: Arc::clone(&loaded.config),
    };
    guest::store(&shard.engine, wiring, &task.limits, &task.control)
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some(left), Some(Ok(frame))) = (&mut self.left_bytes, &frame) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        self.at_end = frame.is_none() || self.left_bytes == Some(0);
        // A body just stops when its guest is gone; only the task tells that it was not to stop there.
        if frame.is_none()
            && let Some(error) = self.task.error()
        {
            return Poll::Ready(Some(Err(BodyError(error.message))));
        }
        Poll::Ready(frame.map(|result| result.map_err(|error| BodyError(error.to_string()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.at_end && !self.body.is_end_stream() {
            self.task.abandon();
        }
    }
}

//! One request on its way, never waited for here.

use disconnected_collector::limits::{CONNECT_MS_MAX, FIRST_BYTE_MS_MAX, REQUEST_MS_MAX};
use disconnected_collector::{Batch, Scheme, Upstream};

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme as WasiScheme,
};
use crate::bindings::wasi::io::poll::Pollable;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::clock::MS;

/// A request whose answer has not come. Dropping it gives it up; whether the sink has the batch is then
/// not known, so it is sent again under the same key.
///
/// The order of the fields is that of dropping: a pollable and a stream go before what they are of.
pub(crate) struct Request {
    answered: Pollable,
    answer: FutureIncomingResponse,
    sending: Option<Sending>,
    /// Whether all of the body was handed to the host.
    is_sent: bool,
    /// When it is given up.
    pub(crate) deadline_ns: u64,
}

/// A body that is being written. In the order of dropping, too.
struct Sending {
    has_room: Pollable,
    stream: OutputStream,
    body: OutgoingBody,
    written: usize,
    is_flushing: bool,
}

impl Request {
    /// Begins to send a batch. The error says why it could not.
    pub(crate) fn begin(upstream: &Upstream, batch: &Batch, now_ns: u64) -> Result<Self, String> {
        let request = new_request(upstream, batch)?;
        let body = request.body().map_err(|()| "the host gives the request no body")?;
        let stream = body.write().map_err(|()| "the host gives the body no stream")?;
        let options = RequestOptions::new();
        // A host need not support these: the deadline holds in any case.
        let _ = options.set_connect_timeout(Some(CONNECT_MS_MAX * MS));
        let _ = options.set_first_byte_timeout(Some(FIRST_BYTE_MS_MAX * MS));
        let answer =
            outgoing_handler::handle(request, Some(options)).map_err(|error| name(&error))?;
        let has_room = stream.subscribe();
        let sending = Sending { has_room, stream, body, written: 0, is_flushing: false };
        Ok(Self {
            answered: answer.subscribe(),
            answer,
            sending: Some(sending),
            is_sent: false,
            deadline_ns: now_ns + REQUEST_MS_MAX * MS,
        })
    }

    /// Adds what this waits for.
    pub(crate) fn wait_for<'a>(&'a self, pollables: &mut Vec<&'a Pollable>) {
        pollables.push(&self.answered);
        if let Some(sending) = &self.sending {
            pollables.push(&sending.has_room);
        }
    }

    /// Goes on as far as it can. `None` while it is not decided; the error says why it failed.
    pub(crate) fn advance(&mut self, batch: &Batch, now_ns: u64) -> Option<Result<(), String>> {
        if let Some(mut sending) = self.sending.take() {
            match sending.advance(&batch.body) {
                Ok(false) => self.sending = Some(sending),
                Ok(true) => {
                    self.is_sent = true;
                    sending.finish();
                }
                // The sink reads no more. It may still have answered, and the answer tells more than
                // this does; when none comes, the host says so in its place.
                Err(_) => self.is_sent = sending.written == batch.body.len(),
            }
        }
        match self.answer.get() {
            Some(Ok(Ok(response))) => Some(self.judge(response.status())),
            Some(Ok(Err(error))) => Some(Err(name(&error))),
            Some(Err(())) => Some(Err("the host has no answer".to_owned())),
            None if now_ns >= self.deadline_ns => {
                Some(Err(format!("no answer within {REQUEST_MS_MAX} ms")))
            }
            None => None,
        }
    }

    /// What a status means for the batch.
    fn judge(&self, status: u16) -> Result<(), String> {
        let is_sent =
            self.is_sent || self.sending.as_ref().is_some_and(|sending| sending.is_flushing);
        match status {
            200..=299 if is_sent => Ok(()),
            200..=299 => Err(format!("status {status} before the batch was sent")),
            _ => Err(format!("status {status}")),
        }
    }
}

impl Sending {
    /// Writes as much as the host takes. Whether all of it was taken.
    fn advance(&mut self, batch: &[u8]) -> Result<bool, StreamError> {
        loop {
            let permitted = match self.stream.check_write()? {
                0 => return Ok(false),
                permitted => usize::try_from(permitted).unwrap_or(usize::MAX),
            };
            if self.is_flushing {
                return Ok(true);
            }
            let rest = &batch[self.written..];
            let now = &rest[..rest.len().min(permitted)];
            self.stream.write(now)?;
            self.written += now.len();
            if self.written == batch.len() {
                self.stream.flush()?;
                self.is_flushing = true;
            }
        }
    }

    fn finish(self) {
        let Self { has_room, stream, body, .. } = self;
        drop(has_room);
        drop(stream);
        // If this fails the answer will say so.
        let _ = OutgoingBody::finish(body, None);
    }
}

fn new_request(upstream: &Upstream, batch: &Batch) -> Result<OutgoingRequest, String> {
    let headers = [
        ("content-type", "application/x-ndjson".to_owned()),
        ("content-length", batch.body.len().to_string()),
        ("idempotency-key", batch.idempotency_key.clone()),
    ];
    let headers: Vec<(String, Vec<u8>)> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    let headers = Fields::from_list(&headers)
        .map_err(|error| format!("the headers were refused: {error:?}"))?;
    let scheme = match upstream.scheme {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    let request = OutgoingRequest::new(headers);
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(&upstream.authority)))
        .and_then(|()| request.set_path_with_query(Some(&upstream.path_with_query)))
        .map_err(|()| "the host refuses the URL")?;
    Ok(request)
}

/// The error's name as the interface writes it, or nearly.
fn name(error: &ErrorCode) -> String {
    format!("{error:?}").trim_start_matches("ErrorCode::").to_owned()
}

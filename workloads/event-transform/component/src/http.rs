//! The HTTP handler: POST transforms the body by its content type, GET describes the workload. The
//! path is not looked at, so that a host may serve this below any prefix.

use event_transform::body::{self, Answer};
use event_transform::limits::BODY_BYTES_MAX;

use crate::bindings::wasi::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::streams;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const CLOUDEVENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const LINES: &str = "application/x-ndjson";

/// Answers one request.
pub(crate) fn handle(request: &IncomingRequest, response_out: ResponseOutparam) {
    match request.method() {
        Method::Post => {}
        Method::Get => {
            return Response::new(200, JSON).send(response_out, body::DESCRIPTION.as_bytes());
        }
        Method::Head => {
            return Response::new(200, JSON).stream(response_out, |_| Ok(()));
        }
        _ => {
            let detail = "POST events, or GET the description";
            return Response { allow: true, ..Response::new(405, PROBLEM) }
                .send(response_out, &body::problem(405, "Method Not Allowed", detail));
        }
    }
    let content_type = content_type(request);
    let Some(input) = Input::open(request) else {
        return problem(response_out, 500, "Internal Server Error", "the body is gone");
    };
    match content_type.as_str() {
        LINES | "application/ndjson" => Response::new(200, LINES)
            .stream(response_out, |output| streams::transform(&input.stream, output).map(drop)),
        JSON => answer_whole(response_out, &input, CLOUDEVENT, body::event),
        CLOUDEVENT => answer_whole(response_out, &input, CLOUDEVENT, body::cloudevent),
        BATCH => answer_whole(response_out, &input, BATCH, body::batch),
        _ => problem(
            response_out,
            415,
            "Unsupported Media Type",
            "send application/json, application/cloudevents+json, \
             application/cloudevents-batch+json or application/x-ndjson",
        ),
    }
}

/// Reads the whole body, within the bound, and answers it.
fn answer_whole(
    response_out: ResponseOutparam,
    input: &Input,
    content_type: &'static str,
    answer: impl FnOnce(&[u8]) -> Answer,
) {
    let whole = match input.read_whole() {
        Ok(Some(whole)) => whole,
        Ok(None) => {
            let detail = format!("the body is longer than {BODY_BYTES_MAX} bytes: send a stream");
            return problem(response_out, 413, "Content Too Large", &detail);
        }
        Err(_) => return problem(response_out, 400, "Bad Request", "the body was cut off"),
    };
    match answer(&whole) {
        Answer::Transformed(out) => Response::new(200, content_type).send(response_out, &out),
        Answer::Rejected(out) => Response::new(422, content_type).send(response_out, &out),
        Answer::Malformed(detail) => problem(response_out, 400, "Bad Request", detail),
    }
}

fn problem(response_out: ResponseOutparam, status: u16, title: &str, detail: &str) {
    Response::new(status, PROBLEM).send(response_out, &body::problem(status, title, detail));
}

/// The media type without its parameters, in small letters; empty if there is none.
fn content_type(request: &IncomingRequest) -> String {
    let values = request.headers().get("content-type");
    let value = values.first().map_or(&b""[..], Vec::as_slice);
    let value = String::from_utf8_lossy(value);
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The request's body. The stream is a child of the body and must go first, which the order of the
/// fields does.
struct Input {
    stream: InputStream,
    _body: IncomingBody,
}

impl Input {
    fn open(request: &IncomingRequest) -> Option<Self> {
        let body = request.consume().ok()?;
        Some(Self { stream: body.stream().ok()?, _body: body })
    }

    /// All of the body; `None` if it is longer than the bound.
    fn read_whole(&self) -> Result<Option<Vec<u8>>, StreamError> {
        let mut whole = streams::read(&self.stream)?.unwrap_or_default();
        while let Some(chunk) = streams::read(&self.stream)? {
            whole.extend_from_slice(&chunk);
            if whole.len() > BODY_BYTES_MAX {
                return Ok(None);
            }
        }
        Ok(Some(whole))
    }
}

/// The head of an answer.
struct Response {
    status: u16,
    content_type: &'static str,
    /// Whether to name the methods that are allowed.
    allow: bool,
}

impl Response {
    fn new(status: u16, content_type: &'static str) -> Self {
        Self { status, content_type, allow: false }
    }

    /// Sends a whole body.
    fn send(&self, response_out: ResponseOutparam, body: &[u8]) {
        self.respond(response_out, Some(body.len()), |output| streams::write_all(output, body));
    }

    /// Sends a body that is written as it comes.
    fn stream(
        &self,
        response_out: ResponseOutparam,
        write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
    ) {
        self.respond(response_out, None, write);
    }

    fn respond(
        &self,
        response_out: ResponseOutparam,
        length: Option<usize>,
        write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
    ) {
        let headers = Fields::new();
        // Constants and a number: the host has no reason to refuse them, and were it to, the answer
        // would only lack that header.
        let _ = headers.append("content-type", self.content_type.as_bytes());
        if let Some(length) = length {
            let _ = headers.append("content-length", length.to_string().as_bytes());
        }
        if self.allow {
            let _ = headers.append("allow", b"GET, HEAD, POST");
        }
        let response = OutgoingResponse::new(headers);
        let _ = response.set_status_code(self.status);
        let body = response.body();
        ResponseOutparam::set(response_out, Ok(response));
        let Ok(body) = body else { return };
        let Ok(stream) = body.write() else { return };
        let written = write(&stream).and_then(|()| streams::flush(&stream));
        drop(stream);
        // Without `finish` the client sees a body that was cut off, which is then the truth.
        if written.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

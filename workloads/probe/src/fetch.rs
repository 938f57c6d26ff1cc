//! Calls to other hosts, by the command and the handler alike.

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::{output, streams};

/// A call to be made.
pub(crate) struct Call<'a> {
    pub(crate) url: &'a str,
    /// How long the guest lets the host wait for the response.
    pub(crate) first_byte_ms_max: Option<u64>,
    /// The length of the body of a POST; without one it is a GET.
    pub(crate) upload_bytes: Option<u64>,
}

/// Makes the call and reads the whole answer: `status NNN, M bytes`, or the host's error as text.
pub(crate) fn fetch(call: &Call<'_>) -> Result<String, String> {
    let request = request(call)?;
    let options = RequestOptions::new();
    let first_byte_ns_max = call.first_byte_ms_max.map(|ms| ms.saturating_mul(1_000_000));
    options.set_first_byte_timeout(first_byte_ns_max).map_err(|()| "the time-out was refused")?;
    let upload = request.body().map_err(|()| "the request's body is taken")?;
    let answer = outgoing_handler::handle(request, Some(options)).map_err(|error| name(&error))?;
    if let Some(length_bytes) = call.upload_bytes {
        send(&upload, length_bytes).map_err(|error| reason(&error))?;
    }
    OutgoingBody::finish(upload, None).map_err(|error| name(&error))?;
    let response = wait(&answer).map_err(|error| name(&error))?;
    let length_bytes = read(&response)?;
    Ok(format!("status {}, {length_bytes} bytes", response.status()))
}

fn request(call: &Call<'_>) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = call.url.split_once("://").ok_or("the URL has no scheme")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let headers = Fields::new();
    if call.upload_bytes.is_none() {
        // A body that is there, and empty, would else be sent in chunks.
        headers.append("content-length", b"0").map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let method = if call.upload_bytes.is_some() { Method::Post } else { Method::Get };
    request.set_method(&method).map_err(|()| "the method was refused")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme was refused")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority was refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path was refused")?;
    Ok(request)
}

fn send(upload: &OutgoingBody, length_bytes: u64) -> Result<(), StreamError> {
    let Ok(stream) = upload.write() else {
        return Err(StreamError::Closed);
    };
    output::flood(&stream, length_bytes)?;
    streams::flush(&stream)
}

/// The length of the answer's body.
fn read(response: &IncomingResponse) -> Result<usize, String> {
    let body = response.consume().map_err(|()| "the response's body is taken")?;
    let stream = body.stream().map_err(|()| "the stream is taken")?;
    let mut length = 0;
    loop {
        match streams::read(&stream) {
            Ok(Some(chunk)) => length += chunk.len(),
            Ok(None) => return Ok(length),
            Err(error) => return Err(format!("after {length} bytes: {}", reason(&error))),
        }
    }
}

fn wait(answer: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    loop {
        match answer.get() {
            Some(Ok(response)) => return response,
            Some(Err(())) => return Err(ErrorCode::InternalError(None)),
            None => answer.subscribe().block(),
        }
    }
}

fn reason(error: &StreamError) -> String {
    match error {
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
        StreamError::Closed => "closed".into(),
    }
}

fn name(error: &ErrorCode) -> String {
    format!("{error:?}")
}

//! The HTTP handler: the path says what to do.

use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::bindings::wasi::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::fetch::{Call, fetch};
use crate::{limits, output, streams};

const TEXT: &[u8] = b"text/plain; charset=utf-8";

const INDEX: &str = "/hello /echo /headers /env /status/NNN /stderr?text= /sleep?ms= /spin /trap \
/panic /grow?bytes= /flood?bytes= /stack-overflow /no-response /trap-after-headers \
/slow-body?chunks=&ms= /outgoing?url=&first-byte-ms=&upload-bytes=\n";

/// Answers one request. A request without a usable path or number gets 404 or 400.
pub(crate) fn handle(request: &IncomingRequest, response_out: ResponseOutparam) {
    let path_with_query = request.path_with_query().unwrap_or_default();
    let (path, query) = path_with_query.split_once('?').unwrap_or((&path_with_query, ""));
    // A host that serves this under a prefix may pass the whole path: only its last part counts.
    let status = path.rsplit_once("/status/").map(|(_, status)| status);
    let name = if status.is_some() { "status" } else { path.rsplit('/').next().unwrap_or("") };
    let number = |key| parameter(query, key).and_then(|text| text.parse::<u64>().ok());

    match name {
        "" => text(response_out, 200, INDEX),
        "hello" => text(response_out, 200, "hello\n"),
        "echo" => echo(request, response_out),
        "headers" => text(response_out, 200, &describe(request, query)),
        "env" => text(response_out, 200, &output::environment()),
        "status" => match status.and_then(|status| status.parse().ok()) {
            Some(status @ 200..=599) => text(response_out, status, &format!("{status}\n")),
            _ => text(response_out, 400, "a status from 200 to 599 is wanted\n"),
        },
        "stderr" => {
            let said = parameter(query, "text").unwrap_or_default();
            let stderr = get_stderr();
            let _ = streams::write_all(&stderr, format!("{said}\n").as_bytes());
            let _ = streams::flush(&stderr);
            text(response_out, 200, "said\n");
        }
        "sleep" => with_number(response_out, number("ms"), "ms", |out, duration_ms| {
            output::sleep(duration_ms);
            text(out, 200, &format!("slept {duration_ms} ms\n"));
        }),
        "spin" => limits::spin_forever(),
        "trap" => text(response_out, 200, &format!("{}\n", limits::trap_outer(0))),
        "panic" => limits::panic_on_purpose(),
        "stack-overflow" => text(response_out, 200, &format!("{}\n", limits::overflow_stack(0))),
        "grow" => with_number(response_out, number("bytes"), "bytes", |out, wanted_bytes| {
            let got_bytes = limits::grow(wanted_bytes);
            text(out, 200, &format!("grew {got_bytes} of {wanted_bytes} bytes\n"));
        }),
        "flood" => with_number(response_out, number("bytes"), "bytes", |out, length_bytes| {
            stream(out, 200, TEXT, |body| output::flood(body, length_bytes));
        }),
        "no-response" => drop(response_out),
        "trap-after-headers" => stream(response_out, 200, TEXT, |body| {
            streams::write_all(body, b"partial\n")?;
            streams::flush(body)?;
            limits::trap_outer(0);
            Ok(())
        }),
        "slow-body" => {
            let (chunks, pause_ms) = (number("chunks").unwrap_or(3), number("ms").unwrap_or(100));
            stream(response_out, 200, TEXT, |body| slow_body(body, chunks, pause_ms));
        }
        "outgoing" => match parameter(query, "url") {
            Some(url) => {
                let call = Call {
                    url: &url,
                    first_byte_ms_max: number("first-byte-ms"),
                    upload_bytes: number("upload-bytes"),
                };
                match fetch(&call) {
                    Ok(answer) => text(response_out, 200, &format!("{answer}\n")),
                    Err(error) => text(response_out, 502, &format!("error: {error}\n")),
                }
            }
            None => text(response_out, 400, "the parameter url is wanted\n"),
        },
        _ => text(response_out, 404, "no such path\n"),
    }
}

/// Answers with a whole text.
fn text(response_out: ResponseOutparam, status: u16, body: &str) {
    respond(response_out, status, TEXT, Some(body.len()), |stream| {
        streams::write_all(stream, body.as_bytes())
    });
}

/// Answers with a body that is written as it comes, its length unknown at the beginning.
fn stream(
    response_out: ResponseOutparam,
    status: u16,
    content_type: &[u8],
    write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
) {
    respond(response_out, status, content_type, None, write);
}

fn respond(
    response_out: ResponseOutparam,
    status: u16,
    content_type: &[u8],
    length: Option<usize>,
    write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
) {
    let headers = Fields::new();
    let _ = headers.append("content-type", content_type);
    if let Some(length) = length {
        let _ = headers.append("content-length", length.to_string().as_bytes());
    }
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body();
    ResponseOutparam::set(response_out, Ok(response));
    let Ok(body) = body else { return };
    let Ok(stream) = body.write() else { return };
    let written = write(&stream).and_then(|()| streams::flush(&stream));
    drop(stream);
    // Without `finish` the host must treat the body as cut off: that is what a failure means.
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn with_number(
    response_out: ResponseOutparam,
    number: Option<u64>,
    name: &str,
    answer: impl FnOnce(ResponseOutparam, u64),
) {
    match number {
        Some(number) => answer(response_out, number),
        None => text(response_out, 400, &format!("the parameter {name} must be a number\n")),
    }
}

/// Streams the request's body back, with its content type.
fn echo(request: &IncomingRequest, response_out: ResponseOutparam) {
    let content_type = request.headers().get("content-type").into_iter().next();
    let content_type = content_type.as_deref().unwrap_or(b"application/octet-stream");
    let Ok(body) = request.consume() else {
        return text(response_out, 500, "the body is gone\n");
    };
    let Ok(input) = body.stream() else {
        return text(response_out, 500, "the body's stream is gone\n");
    };
    stream(response_out, 200, content_type, |output| {
        while let Some(chunk) = streams::read(&input)? {
            streams::write_all(output, &chunk)?;
            output.flush()?;
        }
        Ok(())
    });
}

/// The request as text: method, path, query, then the headers sorted by name.
fn describe(request: &IncomingRequest, query: &str) -> String {
    let method = match request.method() {
        Method::Other(name) => name,
        known => {
            let name = format!("{known:?}");
            name.rsplit("::").next().unwrap_or_default().to_ascii_uppercase()
        }
    };
    let mut lines = format!(
        "method: {method}\npath: {}\nquery: {query}\nauthority: {}\n",
        request.path_with_query().unwrap_or_default(),
        request.authority().unwrap_or_default(),
    );
    let mut headers = request.headers().entries();
    headers.sort();
    for (name, value) in headers {
        lines.push_str(&format!("header {name}: {}\n", String::from_utf8_lossy(&value)));
    }
    lines
}

fn slow_body(body: &OutputStream, chunks: u64, pause_ms: u64) -> Result<(), StreamError> {
    for index in 0..chunks {
        if index > 0 {
            output::sleep(pause_ms);
        }
        streams::write_all(body, format!("chunk {index}\n").as_bytes())?;
        streams::flush(body)?;
    }
    Ok(())
}

/// The value of one query parameter, percent-decoded; `+` stays as it is.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

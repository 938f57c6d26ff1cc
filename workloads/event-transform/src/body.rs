//! The bodies of HTTP requests: one event, one CloudEvent, or a batch of CloudEvents. (A body of
//! lines is a stream, see [`Transformer`](crate::Transformer).)

use crate::json::{NotJson, Room, Scanner, Value};
use crate::line::Output;
use crate::reject::Reason;
use crate::render;
use crate::transform::Transform;

/// What to answer: always a body in the form of the request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The event was sound, or the batch was read, dead letters in it included.
    Transformed(Vec<u8>),
    /// The only event was malformed; the body is its dead letter.
    Rejected(Vec<u8>),
    /// The body is not what its content type says; the text says why.
    Malformed(&'static str),
}

const NOT_JSON: &str = "the body is not JSON in UTF-8";
const NOT_OBJECT: &str = "the body is not a JSON object";
const NOT_CLOUDEVENT: &str = "the body is not a CloudEvent: it needs specversion 1.0, id, source, type and the event in data";
const NOT_ARRAY: &str = "the body is not a JSON array";

/// Answers `application/json`: one event.
pub fn event(body: &[u8]) -> Answer {
    if let Err(answer) = check_object(body) {
        return answer;
    }
    transform(body)
}

/// Answers `application/cloudevents+json`: one CloudEvent.
pub fn cloudevent(body: &[u8]) -> Answer {
    if let Err(answer) = check_object(body) {
        return answer;
    }
    match data(body) {
        Some(event) => transform(event),
        None => Answer::Malformed(NOT_CLOUDEVENT),
    }
}

/// Answers `application/cloudevents-batch+json`: an array of CloudEvents, its elements answered in
/// their order.
pub fn batch(body: &[u8]) -> Answer {
    if std::str::from_utf8(body).is_err() {
        return Answer::Malformed(NOT_JSON);
    }
    let mut transform = Transform::new();
    let mut out = vec![b'['];
    let mut element_out = Output::for_one_event();
    let mut scanner = Scanner::new(body);
    scanner.skip_space();
    if scanner.peek() != Some(b'[') {
        let sound = scanner.value(0).and_then(|_| scanner.end());
        return Answer::Malformed(sound.map_or(NOT_JSON, |()| NOT_ARRAY));
    }
    let read = scanner.elements(1, |scanner| {
        let element = scanner.raw_value(1)?;
        if out.len() > 1 {
            out.push(b',');
        }
        match data(element) {
            // Either way an element is answered by an element.
            Some(event) => drop(transform.one(event, &mut element_out)),
            None => {
                let length = element.len() as u64;
                transform.refuse(Reason::NotCloudevent, element, length, &mut element_out);
            }
        }
        out.extend_from_slice(element_out.as_bytes());
        element_out.clear();
        Ok(())
    });
    match read.and_then(|()| scanner.end()) {
        Ok(()) => {
            out.push(b']');
            Answer::Transformed(out)
        }
        Err(NotJson) => Answer::Malformed(NOT_JSON),
    }
}

/// What `GET` tells about this workload.
pub const DESCRIPTION: &str = concat!(
    "{\"name\":\"event-transform\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\",\"about\":\"POST flight events, get CloudEvents 1.0\",\"accepts\":[\"application/json\",",
    "\"application/cloudevents+json\",\"application/cloudevents-batch+json\",",
    "\"application/x-ndjson\"],\"types\":[\"dev.vyr.flight.transformed.v1\",",
    "\"dev.vyr.flight.dead-letter.v1\"]}\n"
);

/// A problem of RFC 9457 for a request that cannot be answered otherwise.
pub fn problem(status: u16, title: &str, detail: &str) -> Vec<u8> {
    let mut out = Output::for_one_event();
    out.put_slice(format!("{{\"type\":\"about:blank\",\"status\":{status},\"title\":").as_bytes());
    render::string(title, &mut out);
    out.put(b",\"detail\":");
    render::string(detail, &mut out);
    out.put(b"}\n");
    out.as_bytes().to_vec()
}

fn transform(event: &[u8]) -> Answer {
    let mut out = Output::for_one_event();
    match Transform::new().one(event, &mut out) {
        Ok(()) => Answer::Transformed(out.as_bytes().to_vec()),
        Err(_) => Answer::Rejected(out.as_bytes().to_vec()),
    }
}

fn check_object(body: &[u8]) -> Result<(), Answer> {
    let mut scanner = Scanner::new(body);
    scanner.skip_space();
    let first = scanner.peek();
    let sound =
        std::str::from_utf8(body).is_ok() && scanner.value(0).and_then(|_| scanner.end()).is_ok();
    match (sound, first) {
        (true, Some(b'{')) => Ok(()),
        (true, _) => Err(Answer::Malformed(NOT_OBJECT)),
        (false, _) => Err(Answer::Malformed(NOT_JSON)),
    }
}

/// The event inside a CloudEvent; `None` if it is not one.
fn data(element: &[u8]) -> Option<&[u8]> {
    let (mut data, mut version_known, mut id, mut source, mut kind) =
        (None, false, false, false, false);
    let mut scanner = Scanner::new(element);
    scanner.skip_space();
    let read = scanner.members(1, |scanner, name| {
        let mut room: Room = [0; 64];
        let name = name.resolve(&mut room).unwrap_or_default();
        if name == b"data" {
            data = Some(scanner.raw_value(1)?);
            return Ok(());
        }
        let Value::String(text) = scanner.value(1)? else {
            return Ok(());
        };
        let mut text_room: Room = [0; 64];
        // Text that is too long for the room has escapes and is not empty.
        let text = text.resolve(&mut text_room).unwrap_or(b"long");
        match name {
            b"specversion" => version_known = text == b"1.0",
            b"id" => id = !text.is_empty(),
            b"source" => source = !text.is_empty(),
            b"type" => kind = !text.is_empty(),
            _ => {}
        }
        Ok(())
    });
    (read.is_ok() && version_known && id && source && kind).then_some(data).flatten()
}

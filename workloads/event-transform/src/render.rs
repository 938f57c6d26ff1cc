//! What comes out: CloudEvents 1.0 in JSON, without a line feed, their members in a fixed order.

use crate::distance::{self, Routes};
use crate::event::{Course, Event};
use crate::limits::DEAD_LETTER_INPUT_BYTES_MAX;
use crate::reject::Rejection;
use crate::tables;
use crate::time;

/// The longest CloudEvent of a sound event is about 1100 bytes.
const EVENT_BYTES_TYPICAL_MAX: usize = 1536;

/// Where a malformed event stood and what is left of it.
pub(crate) struct Position<'a> {
    /// Counted from one; in a batch, the element's place.
    pub(crate) line: u64,
    /// The beginning of the line, at least [`DEAD_LETTER_INPUT_BYTES_MAX`] bytes if it has them.
    pub(crate) input: &'a [u8],
    pub(crate) input_bytes: u64,
}

/// Appends the CloudEvent of a sound event.
#[inline]
pub(crate) fn event(event: &Event, routes: &mut Routes, out: &mut Vec<u8>) {
    out.reserve(EVENT_BYTES_TYPICAL_MAX);
    let (status, delay_class) = classes(&event.course);
    let (departure, arrival) = match event.course {
        Course::Cancelled => (None, None),
        Course::Diverted(departure) => (Some(departure), None),
        Course::Completed(departure, arrival) => (Some(departure), Some(arrival)),
    };
    let last_utc_min = arrival.map_or_else(
        || {
            departure.map_or(event.scheduled_departure_utc_min, |departure| {
                departure.utc_min
            })
        },
        |arrival| arrival.utc_min,
    );
    let (origin, dest) = (tables::airport(event.origin), tables::airport(event.dest));

    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    identifier(event, out);
    out.extend_from_slice(
        b"\",\"source\":\"/vyr/event-transform\",\"type\":\"dev.vyr.flight.transformed.v1\",\"time\":\"",
    );
    out.extend_from_slice(&time::timestamp(last_utc_min));
    out.extend_from_slice(b"\",\"datacontenttype\":\"application/json\",\"data\":{");
    out.extend_from_slice(event.airline.as_bytes());
    out.extend_from_slice(b",\"flight\":");
    integer(event.flight, out);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\",\"delay_class\":\"");
    out.extend_from_slice(delay_class.as_bytes());
    out.extend_from_slice(b"\",\"origin\":");
    out.extend_from_slice(origin.json.as_bytes());
    out.extend_from_slice(b",\"dest\":");
    out.extend_from_slice(dest.json.as_bytes());
    out.extend_from_slice(b",\"scheduled_departure\":\"");
    out.extend_from_slice(&time::timestamp(event.scheduled_departure_utc_min));
    out.extend_from_slice(b"\",\"actual_departure\":");
    instant_or_null(departure.map(|departure| departure.utc_min), out);
    out.extend_from_slice(b",\"departure_delay_min\":");
    integer_or_null(departure.map(|departure| departure.delay_min), out);
    out.extend_from_slice(b",\"scheduled_arrival\":\"");
    out.extend_from_slice(&time::timestamp(event.scheduled_arrival_utc_min));
    out.extend_from_slice(b"\",\"actual_arrival\":");
    instant_or_null(arrival.map(|arrival| arrival.utc_min), out);
    out.extend_from_slice(b",\"arrival_delay_min\":");
    integer_or_null(arrival.map(|arrival| arrival.delay_min), out);
    out.extend_from_slice(b",\"elapsed_min\":");
    let elapsed_min = departure
        .zip(arrival)
        .map(|(from, to)| to.utc_min - from.utc_min);
    integer_or_null(elapsed_min, out);
    out.extend_from_slice(b",\"air_time_min\":");
    integer_or_null(arrival.map(|arrival| arrival.air_time_min), out);
    out.extend_from_slice(b",\"distance_km\":");
    let distance_tenths_km = routes.tenths_km(event.origin, event.dest);
    tenths(distance_tenths_km, out);
    out.extend_from_slice(b",\"reported_distance_mi\":");
    integer(event.distance_mi, out);
    out.extend_from_slice(b",\"ground_speed_kmh\":");
    match arrival {
        Some(arrival) => {
            let air_time_min = arrival.air_time_min.unsigned_abs();
            tenths(
                distance::speed_tenths_kmh(distance_tenths_km, air_time_min),
                out,
            );
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"aircraft\":");
    match &event.tail {
        Some(tail) => {
            out.extend_from_slice(b"{\"tail\":\"");
            out.extend_from_slice(tail.as_bytes());
            out.push(b'"');
            let description = tables::aircraft(tail.as_bytes()).unwrap_or("}");
            out.extend_from_slice(description.as_bytes());
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}}");
}

/// Appends the CloudEvent of a malformed event.
#[cold]
pub(crate) fn dead_letter(rejection: &Rejection, position: &Position<'_>, out: &mut Vec<u8>) {
    let kept = &position.input[..position.input.len().min(DEAD_LETTER_INPUT_BYTES_MAX)];
    let whole = kept.len() as u64 == position.input_bytes;
    let hash = kept.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let line = position.line;
    let head = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"dead-letter-{line}-{hash:016x}\",\
         \"source\":\"/vyr/event-transform\",\"type\":\"dev.vyr.flight.dead-letter.v1\",\
         \"datacontenttype\":\"application/json\",\"data\":{{\"line\":{line},\
         \"reason\":\"{}\",\"field\":",
        rejection.reason.code(),
    );
    out.extend_from_slice(head.as_bytes());
    match rejection.field_name() {
        Some(name) => string(name, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"text\":");
    string(&rejection.text(), out);
    match readable(kept, whole) {
        Some(text) => {
            out.extend_from_slice(b",\"input\":");
            string(text, out);
        }
        None => {
            out.extend_from_slice(b",\"input_base64\":\"");
            base64(kept, out);
            out.push(b'"');
        }
    }
    out.extend_from_slice(format!(",\"input_bytes\":{}}}}}", position.input_bytes).as_bytes());
}

/// Appends a JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The status of a flight and the class of its delay.
#[inline]
fn classes(course: &Course) -> (&'static str, &'static str) {
    match course {
        Course::Cancelled => ("cancelled", "cancelled"),
        Course::Diverted(_) => ("diverted", "diverted"),
        Course::Completed(_, arrival) => {
            let class = match arrival.delay_min {
                ..0 => "early",
                0..15 => "on_time",
                15..45 => "minor",
                45..120 => "moderate",
                120.. => "severe",
            };
            ("completed", class)
        }
    }
}

/// `YYYY-MM-DD.CCNNNN.OOO-DDD.HHMM`: date, carrier and flight, route, scheduled departure.
#[inline]
fn identifier(event: &Event, out: &mut Vec<u8>) {
    // The tables' JSON begins with the code: `"carrier":"UA"…` and `{"code":"EWR"…`.
    let carrier = &event.airline.as_bytes()[11..13];
    let origin = &tables::airport(event.origin).json.as_bytes()[9..12];
    let dest = &tables::airport(event.dest).json.as_bytes()[9..12];
    let mut date = *b"0000-00-00.";
    time::put_two_digits(&mut date, 0, event.year / 100);
    time::put_two_digits(&mut date, 2, event.year % 100);
    time::put_two_digits(&mut date, 5, event.month);
    time::put_two_digits(&mut date, 8, event.day);
    out.extend_from_slice(&date);
    out.extend_from_slice(carrier);
    integer(event.flight, out);
    let mut tail = *b".000-000.0000";
    tail[1..4].copy_from_slice(origin);
    tail[5..8].copy_from_slice(dest);
    time::put_two_digits(&mut tail, 9, event.scheduled_departure_hhmm / 100);
    time::put_two_digits(&mut tail, 11, event.scheduled_departure_hhmm % 100);
    out.extend_from_slice(&tail);
}

#[inline]
fn instant_or_null(utc_min: Option<i32>, out: &mut Vec<u8>) {
    match utc_min {
        Some(utc_min) => {
            let mut quoted = [b'"'; 22];
            quoted[1..21].copy_from_slice(&time::timestamp(utc_min));
            out.extend_from_slice(&quoted);
        }
        None => out.extend_from_slice(b"null"),
    }
}

#[inline]
fn integer_or_null(value: Option<i32>, out: &mut Vec<u8>) {
    match value {
        Some(value) => integer(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

#[inline]
fn integer(value: i32, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    digits(value.unsigned_abs(), out);
}

/// A number of tenths, always with one decimal.
#[inline]
fn tenths(value: u32, out: &mut Vec<u8>) {
    digits(value / 10, out);
    out.extend_from_slice(&[b'.', b'0' + (value % 10) as u8]);
}

#[inline]
fn digits(mut value: u32, out: &mut Vec<u8>) {
    let mut text = [0; 10];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// The input as text, without a character that was cut in two; `None` if it is not UTF-8.
fn readable(kept: &[u8], whole: bool) -> Option<&str> {
    match std::str::from_utf8(kept) {
        Ok(text) => Some(text),
        Err(error) if !whole && error.error_len().is_none() => {
            std::str::from_utf8(&kept[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

/// Base64 of RFC 4648, section 4, padded.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            out.push(if place <= group.len() {
                ALPHABET[sextet as usize]
            } else {
                b'='
            });
        }
    }
}

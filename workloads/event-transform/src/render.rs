//! What comes out: CloudEvents 1.0 in JSON, without a line feed, their members in a fixed order.

use crate::distance::{self, Routes};
use crate::event::{Course, Event};
use crate::limits::DEAD_LETTER_INPUT_BYTES_MAX;
use crate::line::{Output, Padded};
use crate::reject::Rejection;
use crate::tables;
use crate::time::{self, Stamps};

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
pub(crate) fn event(event: &Event, routes: &mut Routes, stamps: &mut Stamps, out: &mut Output) {
    let (departure, arrival) = match event.course {
        Course::Cancelled => (None, None),
        Course::Diverted(departure) => (Some(departure), None),
        Course::Completed(departure, arrival) => (Some(departure), Some(arrival)),
    };
    let last_utc_min = arrival.map_or_else(
        || departure.map_or(event.scheduled_departure_utc_min, |departure| departure.utc_min),
        |arrival| arrival.utc_min,
    );
    let (origin, dest) = (tables::airport(event.origin), tables::airport(event.dest));

    out.put(b"{\"specversion\":\"1.0\",\"id\":\"");
    identifier(event, out);
    out.put(
        b"\",\"source\":\"/vyr/event-transform\",\"type\":\"dev.vyr.flight.transformed.v1\",\"time\":\"",
    );
    out.put(&stamps.of(last_utc_min));
    out.put(b"\",\"datacontenttype\":\"application/json\",\"data\":{");
    out.put_padded(event.airline);
    out.put(b",\"flight\":");
    integer(event.flight, out);
    out.put_padded(status_and_class(&event.course));
    out.put(b",\"origin\":");
    out.put_padded(&origin.json);
    out.put(b",\"dest\":");
    out.put_padded(&dest.json);
    out.put(b",\"scheduled_departure\":\"");
    out.put(&stamps.of(event.scheduled_departure_utc_min));
    out.put(b"\",\"actual_departure\":");
    instant_or_null(departure.map(|departure| departure.utc_min), stamps, out);
    out.put(b",\"departure_delay_min\":");
    integer_or_null(departure.map(|departure| departure.delay_min), out);
    out.put(b",\"scheduled_arrival\":\"");
    out.put(&stamps.of(event.scheduled_arrival_utc_min));
    out.put(b"\",\"actual_arrival\":");
    instant_or_null(arrival.map(|arrival| arrival.utc_min), stamps, out);
    out.put(b",\"arrival_delay_min\":");
    integer_or_null(arrival.map(|arrival| arrival.delay_min), out);
    out.put(b",\"elapsed_min\":");
    let elapsed_min = departure.zip(arrival).map(|(from, to)| to.utc_min - from.utc_min);
    integer_or_null(elapsed_min, out);
    out.put(b",\"air_time_min\":");
    integer_or_null(arrival.map(|arrival| arrival.air_time_min), out);
    out.put(b",\"distance_km\":");
    let distance_tenths_km = routes.tenths_km(event.origin, event.dest);
    tenths(distance_tenths_km, out);
    out.put(b",\"reported_distance_mi\":");
    integer(event.distance_mi, out);
    out.put(b",\"ground_speed_kmh\":");
    match arrival {
        Some(arrival) => {
            let air_time_min = arrival.air_time_min.unsigned_abs();
            tenths(distance::speed_tenths_kmh(distance_tenths_km, air_time_min), out);
        }
        None => out.put(b"null"),
    }
    out.put(b",\"aircraft\":");
    match &event.tail {
        Some(tail) => {
            out.put(b"{\"tail\":\"");
            let (bytes, length) = tail.room();
            out.put_start(bytes, length);
            out.put_byte(b'"');
            match tables::aircraft(tail.as_bytes()) {
                Some(description) => out.put_padded(description),
                None => out.put_byte(b'}'),
            }
        }
        None => out.put(b"null"),
    }
    out.put(b"}}");
}

/// Appends the CloudEvent of a malformed event.
#[cold]
pub(crate) fn dead_letter(rejection: &Rejection, position: &Position<'_>, out: &mut Output) {
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
    out.put_slice(head.as_bytes());
    match rejection.field_name() {
        Some(name) => string(name, out),
        None => out.put(b"null"),
    }
    out.put(b",\"text\":");
    string(&rejection.text(), out);
    match readable(kept, whole) {
        Some(text) => {
            out.put(b",\"input\":");
            string(text, out);
        }
        None => {
            out.put(b",\"input_base64\":\"");
            base64(kept, out);
            out.put_byte(b'"');
        }
    }
    out.put_slice(format!(",\"input_bytes\":{}}}}}", position.input_bytes).as_bytes());
}

/// Appends a JSON string.
pub(crate) fn string(text: &str, out: &mut Output) {
    out.put_byte(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            0x08 => out.put(b"\\b"),
            0x0c => out.put(b"\\f"),
            0..0x20 => out.put_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.put_byte(byte),
        }
    }
    out.put_byte(b'"');
}

/// The members for the status of a flight and the class of its delay.
#[inline]
fn status_and_class(course: &Course) -> &'static Padded {
    match course {
        Course::Cancelled => &tables::CANCELLED,
        Course::Diverted(_) => &tables::DIVERTED,
        Course::Completed(_, arrival) => match arrival.delay_min {
            ..0 => &tables::EARLY,
            0..15 => &tables::ON_TIME,
            15..45 => &tables::MINOR,
            45..120 => &tables::MODERATE,
            120.. => &tables::SEVERE,
        },
    }
}

/// `YYYY-MM-DD.CCNNNN.OOO-DDD.HHMM`: date, carrier and flight, route, scheduled departure.
#[inline]
fn identifier(event: &Event, out: &mut Output) {
    // The tables' JSON begins with the code: `"carrier":"UA"…` and `{"code":"EWR"…`.
    let carrier = &event.airline.blocks[0][11..13];
    let origin = &tables::airport(event.origin).json.blocks[0][9..12];
    let dest = &tables::airport(event.dest).json.blocks[0][9..12];
    let mut date = *b"0000-00-00.";
    time::put_two_digits(&mut date, 0, event.year / 100);
    time::put_two_digits(&mut date, 2, event.year % 100);
    time::put_two_digits(&mut date, 5, event.month);
    time::put_two_digits(&mut date, 8, event.day);
    out.put(&date);
    out.put_byte(carrier[0]);
    out.put_byte(carrier[1]);
    integer(event.flight, out);
    let mut tail = *b".000-000.0000";
    tail[1..4].copy_from_slice(origin);
    tail[5..8].copy_from_slice(dest);
    time::put_two_digits(&mut tail, 9, event.scheduled_departure_hhmm / 100);
    time::put_two_digits(&mut tail, 11, event.scheduled_departure_hhmm % 100);
    out.put(&tail);
}

#[inline]
fn instant_or_null(utc_min: Option<i32>, stamps: &mut Stamps, out: &mut Output) {
    match utc_min {
        Some(utc_min) => {
            let mut quoted = [b'"'; 22];
            quoted[1..21].copy_from_slice(&stamps.of(utc_min));
            out.put(&quoted);
        }
        None => out.put(b"null"),
    }
}

#[inline]
fn integer_or_null(value: Option<i32>, out: &mut Output) {
    match value {
        Some(value) => integer(value, out),
        None => out.put(b"null"),
    }
}

#[inline]
fn integer(value: i32, out: &mut Output) {
    if value < 0 {
        out.put_byte(b'-');
    }
    digits(value.unsigned_abs(), out);
}

/// A number of tenths, always with one decimal.
#[inline]
fn tenths(value: u32, out: &mut Output) {
    digits(value / 10, out);
    out.put(&[b'.', b'0' + (value % 10) as u8]);
}

#[inline]
fn digits(value: u32, out: &mut Output) {
    // Nearly every number has at most four digits.
    if value < 10_000 {
        let text = [
            b'0' + (value / 1000) as u8,
            b'0' + (value / 100 % 10) as u8,
            b'0' + (value / 10 % 10) as u8,
            b'0' + (value % 10) as u8,
        ];
        let zeros = usize::from(value < 1000) + usize::from(value < 100) + usize::from(value < 10);
        let shifted = u32::from_le_bytes(text) >> (8 * zeros);
        out.put_start(&shifted.to_le_bytes(), 4 - zeros);
    } else {
        digits(value / 10_000, out);
        let rest = value % 10_000;
        digits(rest / 1000, out);
        digits(rest / 100 % 10, out);
        digits(rest / 10 % 10, out);
        digits(rest % 10, out);
    }
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
fn base64(bytes: &[u8], out: &mut Output) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            out.put_byte(if place <= group.len() { ALPHABET[sextet as usize] } else { b'=' });
        }
    }
}

//! One sensor reading: a JSON object with a station and a time. What else is in it is passed on as it
//! is, since the collector carries readings and does not judge them.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

use crate::limits::{LINE_BYTES_MAX, STATION_BYTES_MAX, STATIONS_MAX};

/// What the collector looks at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading<'a> {
    pub(crate) station: Cow<'a, str>,
    pub(crate) time: Time,
}

/// Why a line is not a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It is longer than [`LINE_BYTES_MAX`].
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON object, or lacks one of the members, or one of them is not a string or is repeated.
    #[error("it is not a JSON object with the strings `origin` and `time_hour`")]
    NotAnObject,
    /// The station's name is not one.
    #[error("its `origin` is not 1 to {STATION_BYTES_MAX} printable ASCII characters")]
    Station,
    /// The time is not one.
    #[error("its `time_hour` is not a time like 2013-01-31T23:00:00Z")]
    Time,
    /// The bucket knows as many stations as it may.
    #[error("its `origin` is new and the bucket already has {STATIONS_MAX} stations")]
    StationsTooMany,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(borrow)]
    time_hour: Cow<'a, str>,
}

impl<'a> Reading<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        // Without this, an array of two strings would do as well.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(Malformed::NotAnObject);
        }
        let members: Members<'_> =
            serde_json::from_slice(line).map_err(|_| Malformed::NotAnObject)?;
        if !is_station(&members.origin) {
            return Err(Malformed::Station);
        }
        let time = Time::parse(members.time_hour.as_bytes()).ok_or(Malformed::Time)?;
        Ok(Self { station: members.origin, time })
    }
}

/// Whether this may be a station's name. The ledger has one line for each of them.
pub(crate) fn is_station(name: &str) -> bool {
    (1..=STATION_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A time in UTC to the second, as text of a fixed form: the order of the bytes is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time([u8; 20]);

impl Time {
    /// Before all times; as long as one, so that the first of a station takes no more room.
    pub(crate) const NEVER: Self = Self(*b"--------------------");

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; 20] = text.try_into().ok()?;
        let number = |at: usize| -> Option<u8> {
            let digit = |at: usize| text[at].is_ascii_digit().then(|| text[at] - b'0');
            Some(digit(at)? * 10 + digit(at + 1)?)
        };
        number(0)?;
        number(2)?;
        let is_form = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')]
            .iter()
            .all(|&(at, mark)| text[at] == mark);
        let is_time = (1..=12).contains(&number(5)?)
            && (1..=31).contains(&number(8)?)
            && number(11)? < 24
            && number(14)? < 60
            && number(17)? < 60;
        (is_form && is_time).then_some(Self(text))
    }

    /// Reads what the ledger holds, which may also be [`Time::NEVER`].
    pub(crate) fn parse_kept(text: &[u8]) -> Option<Self> {
        if text == Self::NEVER.0 { Some(Self::NEVER) } else { Self::parse(text) }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII passes the two ways to make one.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Reading<'_>, Malformed> {
        Reading::parse(line.as_bytes())
    }

    #[test]
    fn a_reading_has_a_station_and_a_time() {
        let line =
            r#"{"origin":"EWR","temp":39.02,"wind_gust":null,"time_hour":"2013-01-01T06:00:00Z"}"#;
        let reading = parse(line).ok();
        let time = Time::parse(b"2013-01-01T06:00:00Z");
        assert_eq!(reading, time.map(|time| Reading { station: "EWR".into(), time }));
        let escaped = r#" {"time_hour":"2013-01-01T06:00:00\u005a", "origin":"\u0045WR"} "#;
        assert_eq!(parse(escaped).ok(), parse(line).ok());
    }

    #[test]
    fn what_is_not_a_reading_is_refused() {
        for line in [
            "",
            "  ",
            "x",
            "7",
            "{}",
            r#"["EWR","2013-01-01T06:00:00Z"]"#,
            r#"{"origin":"EWR"}"#,
            r#"{"origin":7,"time_hour":"2013-01-01T06:00:00Z"}"#,
            r#"{"origin":null,"time_hour":"2013-01-01T06:00:00Z"}"#,
            r#"{"origin":"A","origin":"B","time_hour":"2013-01-01T06:00:00Z"}"#,
            r#"{"origin":"EWR","time_hour":"2013-01-01T06:00:00Z"}}"#,
            r#"{"origin":"EWR","time_hour":"2013-01-01T06:00:00Z","x":NaN}"#,
        ] {
            assert_eq!(parse(line), Err(Malformed::NotAnObject), "{line}");
        }
        let station =
            |name: &str| format!(r#"{{"origin":"{name}","time_hour":"2013-01-01T06:00:00Z"}}"#);
        for name in ["", "\\n", "Zürich", "x".repeat(65).as_str()] {
            assert_eq!(parse(&station(name)), Err(Malformed::Station), "{name}");
        }
        assert!(parse(&station(&"x".repeat(64))).is_ok());
        for time in [
            "2013-01-01T06:00:00",
            "2013-13-01T06:00:00Z",
            "2013-01-01 06:00:00Z",
            "201x-01-01T06:00:00Z",
            "2013-01-00T06:00:00Z",
            "2013-01-01T24:00:00Z",
            "--------------------",
        ] {
            let line = format!(r#"{{"origin":"EWR","time_hour":"{time}"}}"#);
            assert_eq!(parse(&line), Err(Malformed::Time), "{time}");
        }
    }

    #[test]
    fn the_order_of_times_is_that_of_their_text() {
        let time = |text: &str| Time::parse(text.as_bytes());
        assert!(Some(Time::NEVER) < time("0000-01-01T00:00:00Z"));
        assert!(time("2013-01-01T23:00:00Z") < time("2013-01-02T00:00:00Z"));
    }
}

//! A flight event: its fields, what is asked of them, and the times that follow from them.
//!
//! The checks run in a fixed order and the first failure is the answer, so that every
//! implementation gives the same reason: first each field in the order of [`FIELDS`] (missing, type,
//! range, format), then the rules between fields.

use std::ops::RangeInclusive;

use crate::json::{NotJson, Room, Scanner, Text, Value};
use crate::line::Padded;
use crate::quick;
use crate::reject::{Reason, Rejection};
use crate::tables;
use crate::time::{self, DAY_MIN, Stamps};

/// The fields in the order of the source's columns; the number is the place in [`FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    Year,
    Month,
    Day,
    DepTime,
    SchedDepTime,
    DepDelay,
    ArrTime,
    SchedArrTime,
    ArrDelay,
    Carrier,
    Flight,
    Tailnum,
    Origin,
    Dest,
    AirTime,
    Distance,
    Hour,
    Minute,
    TimeHour,
}

/// What a field is called and what it must hold.
pub(crate) struct Specification {
    pub(crate) name: &'static str,
    /// The name as it usually stands in a line, with quotes and colon.
    member: &'static str,
    pub(crate) wanted: &'static str,
}

macro_rules! specifications {
    ($($name:literal: $wanted:literal),+ $(,)?) => {
        [$(Specification {
            name: $name,
            member: concat!("\"", $name, "\":"),
            wanted: $wanted,
        }),+]
    };
}

const FIELD_COUNT: usize = 19;

pub(crate) static FIELDS: [Specification; FIELD_COUNT] = specifications! {
    "year": "an integer from 2007 to 2025",
    "month": "an integer from 1 to 12",
    "day": "an integer from 1 to 31",
    "dep_time": "a local time HHMM from 0 to 2400, or null",
    "sched_dep_time": "a local time HHMM from 0 to 2400",
    "dep_delay": "an integer from -240 to 2880, or null",
    "arr_time": "a local time HHMM from 0 to 2400, or null",
    "sched_arr_time": "a local time HHMM from 0 to 2400",
    "arr_delay": "an integer from -240 to 2880, or null",
    "carrier": "a string",
    "flight": "an integer from 1 to 9999",
    "tailnum": "a string of 1 to 8 capital letters or digits, or null",
    "origin": "a string",
    "dest": "a string",
    "air_time": "an integer from 1 to 1440, or null",
    "distance": "an integer from 1 to 12000",
    "hour": "an integer from 0 to 24",
    "minute": "an integer from 0 to 59",
    "time_hour": "a string YYYY-MM-DDTHH:00:00Z",
};

pub(crate) const DELAY_MIN: RangeInclusive<i32> = -240..=2880;
pub(crate) const AIR_TIME_MIN: RangeInclusive<i32> = 1..=DAY_MIN;
pub(crate) const FLIGHT: RangeInclusive<i32> = 1..=9999;
pub(crate) const DISTANCE_MI: RangeInclusive<i32> = 1..=12_000;

/// A short code kept by value, since an escaped one cannot be borrowed from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    bytes: [u8; 8],
    length: u8,
}

impl Tail {
    /// `None` if the code is not 1 to 8 bytes long.
    #[inline]
    pub(crate) fn new(code: &[u8]) -> Option<Self> {
        if code.is_empty() || code.len() > 8 {
            return None;
        }
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(code) {
            *to = *from;
        }
        Some(Self { bytes, length: code.len() as u8 })
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Its bytes with the room behind them, and how many of them count.
    #[inline]
    pub(crate) fn room(&self) -> (&[u8; 8], usize) {
        (&self.bytes, usize::from(self.length))
    }
}

/// What became of a flight, with the times that only exist then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    Cancelled,
    Diverted(Departure),
    Completed(Departure, Arrival),
}

/// When a flight left the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) utc_min: i32,
    pub(crate) delay_min: i32,
}

/// When a flight reached the gate, and how long it was in the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) utc_min: i32,
    pub(crate) delay_min: i32,
    pub(crate) air_time_min: i32,
}

/// A sound event, its times in UTC.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) year: i32,
    pub(crate) month: i32,
    pub(crate) day: i32,
    /// The JSON members that name the airline.
    pub(crate) airline: &'static Padded,
    pub(crate) flight: i32,
    pub(crate) tail: Option<Tail>,
    /// Places in the airport table.
    pub(crate) origin: u16,
    pub(crate) dest: u16,
    pub(crate) distance_mi: i32,
    /// HHMM as it stood in the event.
    pub(crate) scheduled_departure_hhmm: i32,
    pub(crate) scheduled_departure_utc_min: i32,
    pub(crate) scheduled_arrival_utc_min: i32,
    pub(crate) course: Course,
}

/// Reads and checks one event, which must be all there is in `json`.
#[inline]
pub(crate) fn read(json: &[u8], stamps: &mut Stamps) -> Result<Event, Rejection> {
    match quick::read(json) {
        Some(raw) => raw.resolve(stamps),
        None => read_unusual(json, stamps),
    }
}

fn read_unusual(json: &[u8], stamps: &mut Stamps) -> Result<Event, Rejection> {
    if std::str::from_utf8(json).is_err() {
        return Err(Reason::Utf8Invalid.into());
    }
    let values = scan(json)?;
    Raw::check(&values)?.resolve(stamps)
}

/// Finds the values of the known fields; of a repeated one the last counts, others are passed over.
fn scan(json: &[u8]) -> Result<[Value<'_>; FIELD_COUNT], Rejection> {
    let mut scanner = Scanner::new(json);
    scanner.skip_space();
    match scanner.peek() {
        None => return Err(Reason::LineEmpty.into()),
        Some(b'{') => {}
        Some(_) => {
            let sound = scanner.value(0).and_then(|_| scanner.end());
            return Err(sound.map_or(Reason::JsonInvalid, |()| Reason::NotObject).into());
        }
    }
    let mut values = [Value::Missing; FIELD_COUNT];
    scan_members(&mut scanner, &mut values)
        .map_err(|NotJson| Rejection::from(Reason::JsonInvalid))?;
    Ok(values)
}

fn scan_members<'a>(
    scanner: &mut Scanner<'a>,
    values: &mut [Value<'a>; FIELD_COUNT],
) -> Result<(), NotJson> {
    // Most lines have the fields in their usual order and without space: follow them as long as
    // they do, then take what comes.
    scanner.expect(b'{')?;
    for (place, specification) in FIELDS.iter().enumerate() {
        if !scanner.take_all(specification.member.as_bytes()) {
            if place == 0 && scanner.take(b'}') {
                return scanner.end();
            }
            return scan_rest(scanner, values);
        }
        values[place] = scanner.value(1)?;
        if !scanner.take(b',') {
            scanner.expect(b'}')?;
            return scanner.end();
        }
    }
    scan_rest(scanner, values)
}

/// Reads members in any order, from where a name must follow.
fn scan_rest<'a>(
    scanner: &mut Scanner<'a>,
    values: &mut [Value<'a>; FIELD_COUNT],
) -> Result<(), NotJson> {
    scanner.remaining_members(|scanner, name| {
        let value = scanner.value(1)?;
        let mut room: Room = [0; 64];
        let name = name.resolve(&mut room).unwrap_or_default();
        if let Some(place) = FIELDS.iter().position(|field| field.name.as_bytes() == name) {
            values[place] = value;
        }
        Ok(())
    })?;
    scanner.end()
}

/// The fields after the checks of each by itself.
pub(crate) struct Raw<'a> {
    pub(crate) year: i32,
    pub(crate) month: i32,
    pub(crate) day: i32,
    pub(crate) dep_time: Option<i32>,
    pub(crate) sched_dep_time: i32,
    pub(crate) dep_delay: Option<i32>,
    pub(crate) arr_time: Option<i32>,
    pub(crate) sched_arr_time: i32,
    pub(crate) arr_delay: Option<i32>,
    pub(crate) carrier: Text<'a>,
    pub(crate) flight: i32,
    pub(crate) tail: Option<Tail>,
    pub(crate) origin: Text<'a>,
    pub(crate) dest: Text<'a>,
    pub(crate) air_time: Option<i32>,
    pub(crate) distance: i32,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) time_hour: [u8; 20],
}

type Values<'a> = [Value<'a>; FIELD_COUNT];

impl<'a> Raw<'a> {
    #[inline]
    fn check(values: &Values<'a>) -> Result<Self, Rejection> {
        Ok(Self {
            year: integer(values, Field::Year, time::YEAR_MIN..=time::YEAR_MAX)?,
            month: integer(values, Field::Month, 1..=12)?,
            day: integer(values, Field::Day, 1..=31)?,
            dep_time: optional(values, Field::DepTime, clock)?,
            sched_dep_time: clock(values, Field::SchedDepTime)?,
            dep_delay: optional(values, Field::DepDelay, delay)?,
            arr_time: optional(values, Field::ArrTime, clock)?,
            sched_arr_time: clock(values, Field::SchedArrTime)?,
            arr_delay: optional(values, Field::ArrDelay, delay)?,
            carrier: string(values, Field::Carrier)?,
            flight: integer(values, Field::Flight, FLIGHT)?,
            tail: optional(values, Field::Tailnum, tail)?,
            origin: string(values, Field::Origin)?,
            dest: string(values, Field::Dest)?,
            air_time: optional(values, Field::AirTime, air_time)?,
            distance: integer(values, Field::Distance, DISTANCE_MI)?,
            hour: integer(values, Field::Hour, 0..=24)?,
            minute: integer(values, Field::Minute, 0..=59)?,
            time_hour: time_hour(values, Field::TimeHour)?,
        })
    }

    /// Applies the rules between fields.
    #[inline]
    fn resolve(&self, stamps: &mut Stamps) -> Result<Event, Rejection> {
        if self.day > time::days_in_month(self.year, self.month) {
            return reject(Reason::DateImpossible, Field::Day);
        }
        let mut room: Room = [0; 64];
        let Some(airline) = self.carrier.resolve(&mut room).and_then(tables::airline) else {
            return reject(Reason::CarrierUnknown, Field::Carrier);
        };
        let Some(origin) = self.origin.resolve(&mut room).and_then(tables::airport_index) else {
            return reject(Reason::AirportUnknown, Field::Origin);
        };
        let Some(dest) = self.dest.resolve(&mut room).and_then(tables::airport_index) else {
            return reject(Reason::AirportUnknown, Field::Dest);
        };
        if origin == dest {
            return reject(Reason::RouteInvalid, Field::Dest);
        }
        self.check_nulls()?;

        let saving = time::daylight_saving_of(self.year);
        let origin_zone = tables::airport(origin).zone();
        let dest_zone = tables::airport(dest).zone();
        let midnight_min = time::days_from_date(self.year, self.month, self.day) * DAY_MIN;
        let departure_local_min = midnight_min + self.sched_dep_time;
        let departure_utc_min = origin_zone.to_utc(departure_local_min, saving);
        if self.hour * 60 + self.minute != self.sched_dep_time {
            return reject(Reason::TimeInconsistent, Field::Hour);
        }
        let mut hour = stamps.of(departure_utc_min);
        time::put_two_digits(&mut hour, 14, 0);
        if hour != self.time_hour {
            return reject(Reason::TimeInconsistent, Field::TimeHour);
        }
        let first_after = |utc_min: i32, time_of_day_min: i32| {
            let mut local_min = midnight_min - DAY_MIN + time_of_day_min;
            while dest_zone.to_utc(local_min, saving) <= utc_min {
                local_min += DAY_MIN;
            }
            local_min
        };
        let arrival_local_min = first_after(departure_utc_min, self.sched_arr_time);

        let course = match (self.dep_time, self.dep_delay) {
            (Some(dep_time), Some(delay_min)) => {
                let left_local_min = departure_local_min + delay_min;
                if (left_local_min - dep_time).rem_euclid(DAY_MIN) != 0 {
                    return reject(Reason::TimeInconsistent, Field::DepDelay);
                }
                let utc_min = origin_zone.to_utc(left_local_min, saving);
                let departure = Departure { utc_min, delay_min };
                match (self.arr_time, self.arr_delay, self.air_time) {
                    (Some(arr_time), Some(delay_min), Some(air_time_min)) => {
                        let reached_local_min = first_after(utc_min, arr_time);
                        if reached_local_min - arrival_local_min != delay_min {
                            return reject(Reason::TimeInconsistent, Field::ArrDelay);
                        }
                        let arrival_utc_min = dest_zone.to_utc(reached_local_min, saving);
                        if arrival_utc_min - utc_min < air_time_min {
                            return reject(Reason::TimeInconsistent, Field::AirTime);
                        }
                        let arrival = Arrival { utc_min: arrival_utc_min, delay_min, air_time_min };
                        Course::Completed(departure, arrival)
                    }
                    _ => Course::Diverted(departure),
                }
            }
            _ => Course::Cancelled,
        };

        Ok(Event {
            year: self.year,
            month: self.month,
            day: self.day,
            airline,
            flight: self.flight,
            tail: self.tail,
            origin,
            dest,
            distance_mi: self.distance,
            scheduled_departure_hhmm: self.hour * 100 + self.minute,
            scheduled_departure_utc_min: departure_utc_min,
            scheduled_arrival_utc_min: dest_zone.to_utc(arrival_local_min, saving),
            course,
        })
    }

    /// A delay comes with its time; nothing follows a departure that was not; a flight that was
    /// completed has all of arrival, delay and air time, a diverted one has neither of the last two.
    #[inline]
    fn check_nulls(&self) -> Result<(), Rejection> {
        let departed = self.dep_time.is_some();
        let completed = self.arr_delay.is_some();
        if self.dep_delay.is_some() != departed {
            return reject(Reason::NullsInconsistent, Field::DepDelay);
        }
        if self.arr_time.is_some() && !departed {
            return reject(Reason::NullsInconsistent, Field::ArrTime);
        }
        if completed && self.arr_time.is_none() {
            return reject(Reason::NullsInconsistent, Field::ArrDelay);
        }
        if self.air_time.is_some() != completed {
            return reject(Reason::NullsInconsistent, Field::AirTime);
        }
        Ok(())
    }
}

#[cold]
fn reject<T>(reason: Reason, field: Field) -> Result<T, Rejection> {
    Err(Rejection { reason, field: Some(field) })
}

#[inline]
fn optional<'a, T>(
    values: &Values<'a>,
    field: Field,
    read: impl FnOnce(&Values<'a>, Field) -> Result<T, Rejection>,
) -> Result<Option<T>, Rejection> {
    match values[field as usize] {
        Value::Null => Ok(None),
        _ => read(values, field).map(Some),
    }
}

#[inline]
fn integer(
    values: &Values<'_>,
    field: Field,
    range: RangeInclusive<i32>,
) -> Result<i32, Rejection> {
    match values[field as usize] {
        Value::Integer(value) => match i32::try_from(value) {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => reject(Reason::FieldRange, field),
        },
        Value::Missing => reject(Reason::FieldMissing, field),
        _ => reject(Reason::FieldType, field),
    }
}

#[inline]
fn delay(values: &Values<'_>, field: Field) -> Result<i32, Rejection> {
    integer(values, field, DELAY_MIN)
}

#[inline]
fn air_time(values: &Values<'_>, field: Field) -> Result<i32, Rejection> {
    integer(values, field, AIR_TIME_MIN)
}

/// Minutes since midnight from a local time written as the number HHMM; 2400 is the day's end.
#[inline]
fn clock(values: &Values<'_>, field: Field) -> Result<i32, Rejection> {
    let hhmm = integer(values, field, 0..=2400)?;
    if hhmm % 100 > 59 {
        return reject(Reason::TimeImpossible, field);
    }
    Ok(hhmm / 100 * 60 + hhmm % 100)
}

#[inline]
fn string<'a>(values: &Values<'a>, field: Field) -> Result<Text<'a>, Rejection> {
    match values[field as usize] {
        Value::String(text) => Ok(text),
        Value::Missing => reject(Reason::FieldMissing, field),
        _ => reject(Reason::FieldType, field),
    }
}

#[inline]
fn tail(values: &Values<'_>, field: Field) -> Result<Tail, Rejection> {
    let mut room: Room = [0; 64];
    let text = string(values, field)?;
    let code = text.resolve(&mut room).unwrap_or_default();
    let sound = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    match Tail::new(code) {
        Some(tail) if code.iter().all(sound) => Ok(tail),
        _ => reject(Reason::FieldFormat, field),
    }
}

#[inline]
fn time_hour(values: &Values<'_>, field: Field) -> Result<[u8; 20], Rejection> {
    let mut room: Room = [0; 64];
    let text = string(values, field)?;
    let code = text.resolve(&mut room).unwrap_or_default();
    match <[u8; 20]>::try_from(code) {
        Ok(code) if time::is_hour(&code) => Ok(code),
        _ => reject(Reason::FieldFormat, field),
    }
}

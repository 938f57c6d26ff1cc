//! The usual line, read quickly: the fields in their usual order, no space, no escapes.
//!
//! Invariant: what is read here would be read the same way by the general scanner. Anything unusual
//! is left to it, malformed lines among them, so that only one place knows why a line is bad. A line
//! that is taken here has nothing but ASCII in it.

use std::ops::RangeInclusive;

use crate::event::{AIR_TIME_MIN, DELAY_MIN, DISTANCE_MI, FLIGHT, Raw, Tail};
use crate::json::Text;
use crate::time::{self, DAY_MIN};

/// Reads a line, or gives it up.
#[inline]
pub(crate) fn read(line: &[u8]) -> Option<Raw<'_>> {
    let mut rest = Rest { bytes: line };
    let raw = Raw {
        year: rest.name(b"{\"year\":")?.integer(&(time::YEAR_MIN..=time::YEAR_MAX))?,
        month: rest.name(b",\"month\":")?.integer(&(1..=12))?,
        day: rest.name(b",\"day\":")?.integer(&(1..=31))?,
        dep_time: rest.name(b",\"dep_time\":")?.optional(Rest::clock)?,
        sched_dep_time: rest.name(b",\"sched_dep_time\":")?.clock()?,
        dep_delay: rest.name(b",\"dep_delay\":")?.optional(|rest| rest.integer(&DELAY_MIN))?,
        arr_time: rest.name(b",\"arr_time\":")?.optional(Rest::clock)?,
        sched_arr_time: rest.name(b",\"sched_arr_time\":")?.clock()?,
        arr_delay: rest.name(b",\"arr_delay\":")?.optional(|rest| rest.integer(&DELAY_MIN))?,
        carrier: rest.name(b",\"carrier\":\"")?.code::<2>()?,
        flight: rest.name(b"\",\"flight\":")?.integer(&FLIGHT)?,
        tail: rest.name(b",\"tailnum\":")?.optional(Rest::tail)?,
        origin: rest.name(b",\"origin\":\"")?.code::<3>()?,
        dest: rest.name(b"\",\"dest\":\"")?.code::<3>()?,
        air_time: rest.name(b"\",\"air_time\":")?.optional(|rest| rest.integer(&AIR_TIME_MIN))?,
        distance: rest.name(b",\"distance\":")?.integer(&DISTANCE_MI)?,
        hour: rest.name(b",\"hour\":")?.integer(&(0..=24))?,
        minute: rest.name(b",\"minute\":")?.integer(&(0..=59))?,
        time_hour: rest.name(b",\"time_hour\":\"")?.time_hour()?,
    };
    (rest.bytes == b"\"}").then_some(raw)
}

/// What is left of the line.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    /// Passes over exactly these bytes.
    #[inline(always)]
    fn name<const N: usize>(&mut self, wanted: &[u8; N]) -> Option<&mut Self> {
        let (found, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        equal(found, wanted).then_some(self)
    }

    #[inline(always)]
    fn integer(&mut self, range: &RangeInclusive<i32>) -> Option<i32> {
        let negative = self.bytes.first() == Some(&b'-');
        if negative {
            self.bytes = &self.bytes[1..];
        }
        let (mut value, mut length) = (0, 0);
        while let Some(digit) = self.bytes.get(length).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            value = value * 10 + i32::from(digit);
            length += 1;
            if length > 5 {
                return None;
            }
        }
        let leading_zero = length > 1 && self.bytes[0] == b'0';
        if length == 0 || leading_zero {
            return None;
        }
        self.bytes = &self.bytes[length..];
        let value = if negative { -value } else { value };
        range.contains(&value).then_some(value)
    }

    /// Minutes since midnight from HHMM.
    #[inline(always)]
    fn clock(&mut self) -> Option<i32> {
        let hhmm = self.integer(&(0..=2400))?;
        let (hour, minute) = (hhmm / 100, hhmm % 100);
        (minute < 60 && hour * 60 + minute <= DAY_MIN).then_some(hour * 60 + minute)
    }

    #[inline(always)]
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.bytes.first() == Some(&b'n') {
            self.name(b"null")?;
            return Some(None);
        }
        read(self).map(Some)
    }

    /// A code of exactly this length; its closing quote is left.
    #[inline(always)]
    fn code<const N: usize>(&mut self) -> Option<Text<'a>> {
        let (code, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        code.iter().all(is_capital_or_digit).then_some(Text::plain(code))
    }

    /// A tail number with its quotes.
    #[inline(always)]
    fn tail(&mut self) -> Option<Tail> {
        self.name(b"\"")?;
        let length = self.bytes.iter().position(|byte| !is_capital_or_digit(byte))?;
        let (tail, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        self.name(b"\"")?;
        Tail::new(tail)
    }

    #[inline(always)]
    fn time_hour(&mut self) -> Option<[u8; 20]> {
        let (text, rest) = self.bytes.split_first_chunk::<20>()?;
        self.bytes = rest;
        time::is_hour(text).then_some(*text)
    }
}

#[inline(always)]
fn is_capital_or_digit(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

/// Compares by words: the lengths are constants, so that nothing of the loop is left.
#[inline(always)]
fn equal<const N: usize>(found: &[u8; N], wanted: &[u8; N]) -> bool {
    let mut difference = 0;
    let mut at = 0;
    while at + 8 <= N {
        difference |= word(found, at) ^ word(wanted, at);
        at += 8;
    }
    if at < N && N >= 8 {
        difference |= word(found, N - 8) ^ word(wanted, N - 8);
    } else {
        while at < N {
            difference |= u64::from(found[at] ^ wanted[at]);
            at += 1;
        }
    }
    difference == 0
}

#[inline(always)]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

//! The one record by which a new task knows where the last one was. It is written in one call, so that
//! everything in it changes together.
//!
//! Invariant: writing it again never needs more room, whatever happened, unless a station is added:
//! numbers and times have fixed lengths. A full store therefore never keeps a batch from being chosen
//! or acknowledged.

use std::fmt::Write;

use crate::reading::{Time, is_station};
use crate::stations::{Station, Stations};

/// The record's key.
pub(crate) const KEY: &str = "ledger";

const FORM: &str = "disconnected-collector 1";

/// The key of a reading.
pub(crate) fn reading_key(number: u64) -> String {
    format!("reading/{number:012}")
}

/// What the record says besides the stations. Readings are numbered in the order in which they were
/// accepted, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// What makes the idempotency keys of this bucket differ from those of all others.
    pub(crate) run: String,
    /// The number of the batch that is, or will be, sent next.
    pub(crate) sequence: u64,
    /// Readings from here to `first` may still be in the store, although they were acknowledged.
    pub(crate) swept: u64,
    /// The first reading that is not acknowledged, and so the first of the batch.
    pub(crate) first: u64,
    /// Behind the batch's last reading; `first` as long as none is chosen.
    pub(crate) end: u64,
    /// The stations' times are those before this reading. Later ones are found by looking for them.
    pub(crate) tail: u64,
}

impl Ledger {
    pub(crate) fn new(run: [u8; 16]) -> Self {
        let run = format!("{:032x}", u128::from_be_bytes(run));
        Self { run, sequence: 0, swept: 0, first: 0, end: 0, tail: 0 }
    }

    pub(crate) fn idempotency_key(&self) -> String {
        format!("{}-{}", self.run, self.sequence)
    }

    pub(crate) fn encode(&self, stations: &Stations) -> Vec<u8> {
        let mut text = format!("{FORM}\nrun {}\n", self.run);
        for (name, number) in [
            ("sequence", self.sequence),
            ("swept", self.swept),
            ("first", self.first),
            ("end", self.end),
            ("tail", self.tail),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} {number:020}");
        }
        for station in stations.in_ledger() {
            let _ = writeln!(text, "{} {}", station.accepted.as_str(), station.name);
        }
        text.into_bytes()
    }

    /// `None` when these bytes are not what [`Ledger::encode`] makes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, Stations)> {
        let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split('\n');
        if lines.next()? != FORM {
            return None;
        }
        let run = lines.next()?.strip_prefix("run ")?;
        if run.len() != 32 || !run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut number = |name: &str| -> Option<u64> {
            lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
        };
        let ledger = Self {
            run: run.to_owned(),
            sequence: number("sequence")?,
            swept: number("swept")?,
            first: number("first")?,
            end: number("end")?,
            tail: number("tail")?,
        };
        let order = [ledger.swept, ledger.first, ledger.end, ledger.tail];
        if !order.is_sorted() {
            return None;
        }
        let mut stations = Stations::default();
        for line in lines {
            let (time, name) = line.split_once(' ')?;
            let time = Time::parse_kept(time.as_bytes())?;
            if !is_station(name) || stations.find(name).is_some() {
                return None;
            }
            let name = name.to_owned();
            stations.add(Station { name, accepted: time, seen: time, in_ledger: true });
        }
        Some((ledger, stations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stations(times: &[(&str, Time)]) -> Stations {
        let mut stations = Stations::default();
        for &(name, time) in times {
            let name = name.to_owned();
            stations.add(Station { name, accepted: time, seen: time, in_ledger: true });
        }
        stations
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written_and_keeps_its_length() {
        let time = Time::parse(b"2013-01-01T06:00:00Z").expect("a time");
        let known = stations(&[("EWR", Time::NEVER), ("a b", time)]);
        let new = Ledger::new([0xab; 16]);
        let old =
            Ledger { sequence: u64::MAX, swept: 4, first: 5, end: 7, tail: 1 << 60, ..new.clone() };
        for ledger in [&new, &old] {
            let bytes = ledger.encode(&known);
            let (read, read_stations) = Ledger::decode(&bytes).expect("it was written here");
            assert_eq!(&read, ledger);
            assert_eq!(read.encode(&read_stations), bytes);
        }
        let later = stations(&[("EWR", time), ("a b", time)]);
        assert_eq!(new.encode(&known).len(), old.encode(&later).len());
        assert_eq!(new.idempotency_key(), format!("{}-0", "ab".repeat(16)));
    }

    #[test]
    fn what_is_not_a_ledger_is_refused() {
        let bytes = Ledger::new([1; 16]).encode(&stations(&[("EWR", Time::NEVER)]));
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(Ledger::decode(&bytes).is_some());
        assert!(Ledger::decode(b"").is_none());
        for (from, to) in [
            ("collector 1", "collector 2"),
            ("run 0", "run x"),
            ("swept 00000000000000000000", "swept 00000000000000000001"),
            ("tail ", "tall "),
            ("- EWR", "+ EWR"),
            (" EWR", " "),
            ("EWR\n", "EWR\n-------------------- EWR\n"),
            ("EWR\n", "EWR"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(Ledger::decode(changed.as_bytes()).is_none(), "{changed}");
        }
    }
}

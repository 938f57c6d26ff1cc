//! The stations that a bucket knows, and how far each of them has come.

use std::collections::BTreeMap;

use crate::limits::STATIONS_MAX;
use crate::reading::Time;

/// One station.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) name: String,
    /// The time of its last reading that is in the store. Only this may be written to the ledger: a
    /// later time would make the new task suppress readings that were never kept.
    pub(crate) accepted: Time,
    /// The time of its last reading that was taken from the input, in the store or waiting for room.
    pub(crate) seen: Time,
    /// Whether the ledger in the store has its line.
    pub(crate) in_ledger: bool,
}

/// All of them, in the order in which they appeared.
#[derive(Debug, Default)]
pub(crate) struct Stations {
    list: Vec<Station>,
    by_name: BTreeMap<String, usize>,
}

impl Stations {
    /// The station's place; a new one is added unless there are too many.
    pub(crate) fn find_or_add(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.find(name) {
            return Some(place);
        }
        if self.list.len() == STATIONS_MAX {
            return None;
        }
        self.add(Station {
            name: name.to_owned(),
            accepted: Time::NEVER,
            seen: Time::NEVER,
            in_ledger: false,
        });
        Some(self.list.len() - 1)
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn add(&mut self, station: Station) {
        self.by_name.insert(station.name.clone(), self.list.len());
        self.list.push(station);
    }

    pub(crate) fn at(&mut self, place: usize) -> &mut Station {
        &mut self.list[place]
    }

    /// Those that the ledger must name.
    pub(crate) fn in_ledger(&self) -> impl Iterator<Item = &Station> {
        self.list.iter().filter(|station| station.in_ledger)
    }
}

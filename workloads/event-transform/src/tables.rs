//! Airlines, airports and aircraft, looked up in tables that the build script made. Nothing here is
//! computed or parsed when the guest starts.

use crate::hash;
use crate::line::Padded;

/// An IANA time zone, by the rules that hold for the years this workload accepts.
pub(crate) struct Zone {
    /// Standard time minus UTC.
    pub(crate) standard_offset_min: i32,
    /// Whether the rule of the United States applies.
    pub(crate) daylight_saving: bool,
}

/// An airport, as far as it is needed at run time.
pub(crate) struct Airport {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    zone: u8,
    /// Its JSON object.
    pub(crate) json: Padded,
}

impl Airport {
    #[inline]
    pub(crate) fn zone(&self) -> &'static Zone {
        &ZONES[usize::from(self.zone)]
    }
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

const _: () = assert!(AIRLINES.len() == hash::AIRLINE_SLOTS);

/// The JSON members that name an airline.
#[inline]
pub(crate) fn airline(code: &[u8]) -> Option<&'static Padded> {
    AIRLINES[hash::airline_slot(code)?].as_ref()
}

/// The index of an airport, good for [`airport`].
#[inline]
pub(crate) fn airport_index(code: &[u8]) -> Option<u16> {
    let key = hash::airport_key(code)?;
    let mut slot = hash::airport_slot(key);
    loop {
        match AIRPORT_KEYS[slot] {
            found if found == key => return Some(AIRPORT_INDEXES[slot]),
            0 => return None,
            _ => slot = (slot + 1) % hash::AIRPORT_SLOTS,
        }
    }
}

/// The airport with an index that [`airport_index`] gave.
#[inline]
pub(crate) fn airport(index: u16) -> &'static Airport {
    &AIRPORTS[usize::from(index)]
}

/// The JSON members that describe an aircraft, with the brace that ends its object.
#[inline]
pub(crate) fn aircraft(tail: &[u8]) -> Option<&'static Padded> {
    let key = hash::tail_key(tail)?;
    let mut slot = hash::aircraft_slot(key);
    loop {
        match AIRCRAFT_KEYS[slot] {
            found if found == key => return Some(&AIRCRAFT[usize::from(AIRCRAFT_INDEXES[slot])]),
            0 => return None,
            _ => slot = (slot + 1) % hash::AIRCRAFT_SLOTS,
        }
    }
}

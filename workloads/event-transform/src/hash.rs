//! Keys and slots of the lookup tables. The build script uses this very file to fill the tables, so
//! that filling and looking up cannot disagree. Every table uses linear probing and is at most half
//! full; a zero key is an empty slot.

/// One slot for each pair of digits and capital letters.
pub(crate) const AIRLINE_SLOTS: usize = 36 * 36;
pub(crate) const AIRPORT_SLOTS: usize = 1 << AIRPORT_SLOT_BITS;
pub(crate) const AIRCRAFT_SLOTS: usize = 1 << AIRCRAFT_SLOT_BITS;

const AIRPORT_SLOT_BITS: u32 = 12;
const AIRCRAFT_SLOT_BITS: u32 = 13;

/// 2^64 divided by the golden ratio: multiplying by it spreads keys over the upper bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The slot of a carrier's code; `None` if it is not two digits or capital letters.
#[inline]
pub(crate) fn airline_slot(code: &[u8]) -> Option<usize> {
    let &[first, second] = code else { return None };
    Some(digit(first)? * 36 + digit(second)?)
}

/// The key of an airport's code; `None` if it is not three bytes.
#[inline]
pub(crate) fn airport_key(code: &[u8]) -> Option<u32> {
    let &[first, second, third] = code else {
        return None;
    };
    Some(u32::from_be_bytes([1, first, second, third]))
}

/// The first slot to look for an airport in.
#[inline]
pub(crate) fn airport_slot(key: u32) -> usize {
    (u64::from(key).wrapping_mul(SPREAD) >> (64 - AIRPORT_SLOT_BITS)) as usize
}

/// The key of a tail number; `None` if it is empty or longer than eight bytes.
#[inline]
pub(crate) fn tail_key(tail: &[u8]) -> Option<u64> {
    if tail.is_empty() || tail.len() > 8 {
        return None;
    }
    Some(tail.iter().fold(0, |key, &byte| key << 8 | u64::from(byte)))
}

/// The first slot to look for an aircraft in.
#[inline]
pub(crate) fn aircraft_slot(key: u64) -> usize {
    (key.wrapping_mul(SPREAD) >> (64 - AIRCRAFT_SLOT_BITS)) as usize
}

#[inline]
fn digit(byte: u8) -> Option<usize> {
    match byte {
        b'0'..=b'9' => Some(usize::from(byte - b'0')),
        b'A'..=b'Z' => Some(usize::from(byte - b'A') + 10),
        _ => None,
    }
}

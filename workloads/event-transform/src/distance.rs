//! Great-circle distances and the speeds that follow from them.
//!
//! Sines differ in their last bit between mathematical libraries, so a distance is rounded to a
//! tenth of a kilometre and everything after that is integer arithmetic: another implementation
//! gets the same bytes.

use crate::tables;

/// The mean radius of the earth (IUGG, R1).
const EARTH_RADIUS_KM: f64 = 6371.0088;

const SLOT_BITS: u32 = 10;

/// Remembers the distances of routes, since a stream has few routes and many flights.
pub(crate) struct Routes {
    /// Key and distance in tenths of a kilometre; a zero key is an empty slot.
    slots: Box<[(u32, u32)]>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { slots: vec![(0, 0); 1 << SLOT_BITS].into_boxed_slice() }
    }

    /// The distance between two different airports in tenths of a kilometre.
    #[inline]
    pub(crate) fn tenths_km(&mut self, origin: u16, dest: u16) -> u32 {
        let key = (u32::from(origin) << 16 | u32::from(dest)) + 1;
        let slot = (key.wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS)) as usize;
        let (known, tenths) = self.slots[slot];
        if known == key {
            return tenths;
        }
        let tenths = (great_circle_km(origin, dest) * 10.0 + 0.5).floor() as u32;
        self.slots[slot] = (key, tenths);
        tenths
    }
}

/// The mean speed over ground in tenths of a kilometre per hour, halves rounded up.
#[inline]
pub(crate) fn speed_tenths_kmh(distance_tenths_km: u32, air_time_min: u32) -> u32 {
    (distance_tenths_km * 60 * 2 + air_time_min) / (air_time_min * 2)
}

/// The haversine formula.
#[cold]
fn great_circle_km(origin: u16, dest: u16) -> f64 {
    let (origin, dest) = (tables::airport(origin), tables::airport(dest));
    let (from, to) = (origin.latitude.to_radians(), dest.latitude.to_radians());
    let half_height = ((to - from) / 2.0).sin();
    let half_width = ((dest.longitude - origin.longitude).to_radians() / 2.0).sin();
    let haversine = half_height * half_height + from.cos() * to.cos() * half_width * half_width;
    2.0 * EARTH_RADIUS_KM * haversine.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two libraries' sines differ by less than a billionth of a kilometre here. As long as no route
    /// is that close to where rounding changes, all of them give the same tenth.
    #[test]
    fn no_route_is_so_near_a_rounding_edge_that_libraries_could_disagree() {
        let count = u16::try_from(tables::AIRPORTS.len()).expect("a few thousand airports");
        let mut nearest = f64::MAX;
        for origin in 0..count {
            for dest in 0..origin {
                let tenths = great_circle_km(origin, dest) * 10.0 + 0.5;
                nearest = nearest.min((tenths - tenths.round()).abs());
            }
        }
        assert!(nearest > 1e-8, "{nearest}");
    }

    #[test]
    fn speed_rounds_halves_up() {
        assert_eq!(speed_tenths_kmh(1, 120), 1);
        assert_eq!(speed_tenths_kmh(1, 121), 0);
        assert_eq!(speed_tenths_kmh(22_506, 227), 5949);
    }
}

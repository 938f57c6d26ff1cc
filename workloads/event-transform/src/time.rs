//! Local times and UTC, in whole minutes since 1970-01-01T00:00.
//!
//! The rule for daylight saving is the one of the United States since 2007, which the IANA database
//! gives all zones of the airport table that have it at all: from the second Sunday in March, 02:00
//! standard time, to the first Sunday in November, 02:00 daylight time. A local time that was
//! skipped counts as standard time, one that came twice as the first of the two.

use crate::tables::Zone;

pub(crate) const DAY_MIN: i32 = 24 * 60;

/// Years in which the rule above holds for every zone of the table.
pub(crate) const YEAR_MIN: i32 = 2007;
pub(crate) const YEAR_MAX: i32 = 2025;

/// When daylight saving begins and ends, as local minutes: from the first instant whose local time
/// is daylight time (03:00) to the local time at which it ends (02:00, daylight time).
#[derive(Clone, Copy)]
pub(crate) struct DaylightSaving {
    from_min: i32,
    to_min: i32,
}

static DAYLIGHT_SAVING: [DaylightSaving; (YEAR_MAX - YEAR_MIN + 1) as usize] = daylight_saving();

/// The daylight saving of a year from [`YEAR_MIN`] to [`YEAR_MAX`].
#[inline]
pub(crate) fn daylight_saving_of(year: i32) -> &'static DaylightSaving {
    &DAYLIGHT_SAVING[(year - YEAR_MIN) as usize]
}

impl Zone {
    /// The UTC minute of a local one within a few days of the year whose daylight saving is given:
    /// around New Year there is none.
    #[inline]
    pub(crate) fn to_utc(&self, local_min: i32, saving: &DaylightSaving) -> i32 {
        let in_saving = (saving.from_min..saving.to_min).contains(&local_min);
        let saved_min = if self.daylight_saving && in_saving { 60 } else { 0 };
        local_min - self.standard_offset_min - saved_min
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
#[inline]
pub(crate) const fn days_from_date(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// How many days a month has.
#[inline]
pub(crate) const fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Writes instants as `YYYY-MM-DDTHH:MM:00Z`, remembering the dates of the last few days.
pub(crate) struct Stamps {
    dates: [(i32, [u8; 20]); REMEMBERED_DAYS],
}

const REMEMBERED_DAYS: usize = 4;

impl Stamps {
    pub(crate) fn new() -> Self {
        // No instant has this day, so that nothing is taken for remembered.
        Self { dates: [(i32::MIN, [0; 20]); REMEMBERED_DAYS] }
    }

    /// The text of an instant that is not before 1970.
    #[inline]
    pub(crate) fn of(&mut self, utc_min: i32) -> [u8; 20] {
        let minutes = utc_min.unsigned_abs();
        let (day, minute) = (minutes / DAY_MIN.unsigned_abs(), minutes % DAY_MIN.unsigned_abs());
        let (remembered, date) = &mut self.dates[day as usize % REMEMBERED_DAYS];
        if *remembered != day as i32 {
            *remembered = day as i32;
            *date = midnight(day as i32);
        }
        let mut text = *date;
        put_two_digits(&mut text, 11, (minute / 60) as i32);
        put_two_digits(&mut text, 14, (minute % 60) as i32);
        text
    }
}

#[cold]
fn midnight(day: i32) -> [u8; 20] {
    let (year, month, day) = date_from_days(day);
    let mut text = *b"0000-00-00T00:00:00Z";
    put_two_digits(&mut text, 0, year / 100);
    put_two_digits(&mut text, 2, year % 100);
    put_two_digits(&mut text, 5, month);
    put_two_digits(&mut text, 8, day);
    text
}

/// Whether a text has the form `YYYY-MM-DDTHH:00:00Z`.
#[inline]
pub(crate) fn is_hour(text: &[u8; 20]) -> bool {
    const PATTERN: &[u8; 20] = b"0000-00-00T00:00:00Z";
    let digit = |at: usize| text[at].is_ascii_digit();
    let same = |at: usize| text[at] == PATTERN[at];
    (0..20).all(|at| if at < 13 && PATTERN[at] == b'0' { digit(at) } else { same(at) })
}

/// Writes a number from 0 to 99.
#[inline]
pub(crate) fn put_two_digits<const N: usize>(text: &mut [u8; N], at: usize, value: i32) {
    let tens = value as u32 / 10;
    text[at] = b'0' + tens as u8;
    text[at + 1] = b'0' + (value as u32 - tens * 10) as u8;
}

#[inline]
const fn date_from_days(days: i32) -> (i32, i32, i32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

const fn daylight_saving() -> [DaylightSaving; (YEAR_MAX - YEAR_MIN + 1) as usize] {
    let mut table = [DaylightSaving { from_min: 0, to_min: 0 }; (YEAR_MAX - YEAR_MIN + 1) as usize];
    let mut year = YEAR_MIN;
    while year <= YEAR_MAX {
        table[(year - YEAR_MIN) as usize] = DaylightSaving {
            from_min: (first_sunday(year, 3) + 7) * DAY_MIN + 3 * 60,
            to_min: first_sunday(year, 11) * DAY_MIN + 2 * 60,
        };
        year += 1;
    }
    table
}

const fn first_sunday(year: i32, month: i32) -> i32 {
    let first = days_from_date(year, month, 1);
    // 1970-01-01 was a Thursday, so Sundays are the days that are 3 modulo 7.
    first + (3 - first).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(offset_min: i32, saves: bool, date: (i32, i32, i32), local_min: i32) -> String {
        let zone = Zone { standard_offset_min: offset_min, daylight_saving: saves };
        let local_min = days_from_date(date.0, date.1, date.2) * DAY_MIN + local_min;
        let utc_min = zone.to_utc(local_min, daylight_saving_of(date.0));
        String::from_utf8(Stamps::new().of(utc_min).to_vec()).expect("digits")
    }

    #[test]
    fn local_times_follow_the_zone_and_the_season() {
        assert_eq!(utc(-300, true, (2013, 1, 1), 517), "2013-01-01T13:37:00Z");
        assert_eq!(utc(-300, true, (2013, 7, 1), 517), "2013-07-01T12:37:00Z");
        assert_eq!(utc(-420, false, (2013, 7, 1), 517), "2013-07-01T15:37:00Z");
        assert_eq!(utc(-600, false, (2012, 12, 31), DAY_MIN), "2013-01-01T10:00:00Z");
    }

    #[test]
    fn a_skipped_time_is_standard_and_a_repeated_one_the_first() {
        assert_eq!(utc(-300, true, (2013, 3, 10), 119), "2013-03-10T06:59:00Z");
        assert_eq!(utc(-300, true, (2013, 3, 10), 150), "2013-03-10T07:30:00Z");
        assert_eq!(utc(-300, true, (2013, 3, 10), 180), "2013-03-10T07:00:00Z");
        assert_eq!(utc(-300, true, (2013, 11, 3), 90), "2013-11-03T05:30:00Z");
        assert_eq!(utc(-300, true, (2013, 11, 3), 120), "2013-11-03T07:00:00Z");
    }

    #[test]
    fn dates_survive_the_way_to_days_and_back() {
        let mut day = days_from_date(YEAR_MIN, 1, 1);
        for year in YEAR_MIN..=YEAR_MAX {
            for month in 1..=12 {
                for date in 1..=days_in_month(year, month) {
                    assert_eq!(days_from_date(year, month, date), day);
                    assert_eq!(date_from_days(day), (year, month, date));
                    day += 1;
                }
            }
        }
    }
}

//! Histograms of times, three significant digits from one nanosecond to one hour.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram as Hdr;
use serde::{Deserialize, Serialize};

/// The longest time a histogram tells apart, nanoseconds: one hour. Longer times count as this.
pub const HISTOGRAM_NS_MAX: u64 = 3_600_000_000_000;

const SIGNIFICANT_DIGITS: u8 = 3;

/// A handle on one histogram of times; clones record into the same one.
#[derive(Clone)]
pub struct Histogram {
    cells: Rc<RefCell<Cells>>,
}

struct Cells {
    counts: Hdr<u64>,
    sum_ns: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            cells: Rc::new(RefCell::new(Cells {
                counts: empty(),
                sum_ns: 0,
            })),
        }
    }

    /// Counts a time in nanoseconds; one above [`HISTOGRAM_NS_MAX`] counts as that.
    pub fn record_ns(&self, value_ns: u64) {
        let value_ns = value_ns.min(HISTOGRAM_NS_MAX);
        let mut cells = self.cells.borrow_mut();
        cells.counts.saturating_record(value_ns);
        cells.sum_ns = cells.sum_ns.saturating_add(value_ns);
    }

    /// Counts a time.
    pub fn record(&self, value: Duration) {
        self.record_ns(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let cells = self.cells.borrow();
        let buckets = cells
            .counts
            .iter_recorded()
            .map(|step| {
                let lowest_ns = cells.counts.lowest_equivalent(step.value_iterated_to());
                (lowest_ns, step.count_at_value())
            })
            .collect();
        HistogramSnapshot {
            sum_ns: cells.sum_ns,
            buckets,
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.cells.borrow().counts.len())
            .finish()
    }
}

/// The values of a histogram at one moment, to be sent, merged and read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// The sum of the values, nanoseconds, exact.
    pub sum_ns: u64,
    /// The HDR buckets that are not empty, in rising order: the lowest value of the bucket in
    /// nanoseconds, and the count.
    pub buckets: Vec<(u64, u64)>,
}

impl HistogramSnapshot {
    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds the values of another histogram. Nothing is lost: both have the same buckets.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        let mut all = std::mem::take(&mut self.buckets);
        all.extend_from_slice(&other.buckets);
        all.sort_unstable_by_key(|(lowest_ns, _)| *lowest_ns);
        for (lowest_ns, count) in all {
            match self.buckets.last_mut() {
                Some((last_ns, sum)) if *last_ns == lowest_ns => *sum = sum.saturating_add(count),
                _ => self.buckets.push((lowest_ns, count)),
            }
        }
    }

    /// The histogram itself, for what the `hdrhistogram` crate can compute; values in nanoseconds.
    #[must_use]
    pub fn to_hdr(&self) -> Hdr<u64> {
        let mut hdr = empty();
        for (lowest_ns, count) in &self.buckets {
            hdr.saturating_record_n(*lowest_ns, *count);
        }
        hdr
    }

    /// The percentiles one reads most; `None` when nothing was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        if self.count() == 0 {
            return None;
        }
        let hdr = self.to_hdr();
        Some(Percentiles {
            p50_ns: hdr.value_at_quantile(0.5),
            p90_ns: hdr.value_at_quantile(0.9),
            p99_ns: hdr.value_at_quantile(0.99),
            p999_ns: hdr.value_at_quantile(0.999),
            p9999_ns: hdr.value_at_quantile(0.9999),
            max_ns: hdr.max(),
        })
    }
}

/// Percentiles of a histogram, nanoseconds: at least this share of the values is not above it.
/// Each is right to three significant digits, and errs upward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50_ns: u64,
    /// 90 %.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p999_ns: u64,
    /// 99.99 %.
    pub p9999_ns: u64,
    /// The largest.
    pub max_ns: u64,
}

fn empty() -> Hdr<u64> {
    Hdr::new_with_max(HISTOGRAM_NS_MAX, SIGNIFICANT_DIGITS)
        .expect("a range of one hour and three digits are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::split_mix;

    #[test]
    fn percentiles_are_right_to_three_digits_over_nine_decades() {
        let mut seed = 11;
        let mut values = Vec::new();
        let histogram = Histogram::new();
        for _ in 0..200_000 {
            let decade = 10u64.pow((split_mix(&mut seed) % 9) as u32 + 2);
            let value = decade + split_mix(&mut seed) % (9 * decade);
            values.push(value);
            histogram.record_ns(value);
        }
        values.sort_unstable();
        let percentiles = histogram
            .snapshot()
            .percentiles()
            .expect("values were recorded");
        for (share, found) in [
            (0.5, percentiles.p50_ns),
            (0.9, percentiles.p90_ns),
            (0.99, percentiles.p99_ns),
            (0.999, percentiles.p999_ns),
            (0.9999, percentiles.p9999_ns),
            (1.0, percentiles.max_ns),
        ] {
            let rank = (share * values.len() as f64).ceil() as usize;
            let exact = values[rank - 1];
            assert!(found >= exact, "{share}: {found} is below {exact}");
            assert!(
                found - exact <= exact / 1000 + 1,
                "{share}: {found} is not near {exact}"
            );
        }
    }

    #[test]
    fn merging_through_json_is_recording_into_one() {
        let (one, two, both) = (Histogram::new(), Histogram::new(), Histogram::new());
        let mut seed = 5;
        for turn in 0..50_000u64 {
            let value = split_mix(&mut seed) >> (20 + turn % 40);
            if turn % 3 == 0 {
                one.record_ns(value)
            } else {
                two.record_ns(value)
            }
            both.record_ns(value);
        }
        let sent = serde_json::to_string(&one.snapshot()).expect("a snapshot is JSON");
        let mut merged: HistogramSnapshot = serde_json::from_str(&sent).expect("it reads back");
        assert_eq!(merged, one.snapshot());
        merged.merge(&two.snapshot());
        assert_eq!(merged, both.snapshot());
        assert_eq!(merged.count(), 50_000);
        assert_eq!(merged.to_hdr(), both.cells.borrow().counts);
    }

    #[test]
    fn values_outside_the_range_count_as_its_ends() {
        let histogram = Histogram::new();
        histogram.record_ns(0);
        histogram.record_ns(HISTOGRAM_NS_MAX);
        histogram.record_ns(HISTOGRAM_NS_MAX + 1);
        histogram.record_ns(u64::MAX);
        histogram.record(Duration::MAX);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 5);
        assert_eq!(snapshot.sum_ns, 4 * HISTOGRAM_NS_MAX);
        let percentiles = snapshot.percentiles().expect("values were recorded");
        assert!(percentiles.max_ns.abs_diff(HISTOGRAM_NS_MAX) <= HISTOGRAM_NS_MAX / 1000);
    }

    #[test]
    fn nothing_recorded_has_no_percentiles() {
        let snapshot = Histogram::new().snapshot();
        assert_eq!(snapshot, HistogramSnapshot::default());
        assert_eq!(snapshot.percentiles(), None);
    }
}

//! HDR histograms as exponential ones, which OpenTelemetry and Prometheus (there: native) understand.
//!
//! Bucket *i* of scale *s* holds the seconds above *b*ⁱ and not above *b*ⁱ⁺¹, where *b* is 2 to the power
//! of 2⁻ˢ: <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>.

use super::histogram::HistogramSnapshot;

/// The scales and sizes that a receiver takes.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialBounds {
    /// The finest scale.
    pub scale_max: i32,
    /// Buckets of one histogram; at least 1.
    pub buckets_max: i32,
}

/// A distribution of times in exponential buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExponentialHistogram {
    /// How fine the buckets are.
    pub scale: i32,
    /// The number of the first bucket.
    pub offset: i32,
    /// The counts of the buckets from `offset` on.
    pub counts: Vec<u64>,
    /// Times of zero, which no bucket holds.
    pub zero_count: u64,
}

impl HistogramSnapshot {
    /// The same distribution, in the finest buckets that the bounds permit. A value is where the
    /// lowest value of its HDR bucket is.
    #[must_use]
    pub fn exponential(&self, bounds: ExponentialBounds) -> ExponentialHistogram {
        let counted = |(time_ns, _): &&(u64, u64)| *time_ns > 0;
        let indexes: Vec<(i32, u64)> = self
            .buckets
            .iter()
            .filter(counted)
            .map(|(time_ns, count)| (index(*time_ns, bounds.scale_max), *count))
            .collect();
        let (first, last) = match (indexes.first(), indexes.last()) {
            (Some((first, _)), Some((last, _))) => (*first, *last),
            _ => (0, 0),
        };
        // Each scale below has buckets of twice the width.
        let down = (0..32)
            .find(|down| (last >> down) - (first >> down) < bounds.buckets_max)
            .unwrap_or_default();
        let offset = first >> down;
        let mut counts = Vec::new();
        for (index, count) in &indexes {
            let place = ((index >> down) - offset) as usize;
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += count;
        }
        let zeros = self.buckets.iter().filter(|bucket| !counted(bucket));
        ExponentialHistogram {
            scale: bounds.scale_max - down,
            offset,
            counts,
            zero_count: zeros.map(|(_, count)| count).sum(),
        }
    }
}

/// The bucket of a time at a scale.
fn index(time_ns: u64, scale: i32) -> i32 {
    let buckets_per_octave = f64::from(scale).exp2();
    ((time_ns as f64 / 1e9).log2() * buckets_per_octave).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, HistogramSnapshot};
    use super::*;

    fn recorded(values: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record_ns(*value));
        histogram.snapshot()
    }

    #[test]
    fn every_time_is_in_the_bucket_that_holds_it() {
        // From one nanosecond to an hour, from a single bucket to too many for the finest scale.
        let all_values = [
            vec![],
            vec![0, 0, 7],
            vec![12_345],
            (0..400).map(|step| 100_000 + step * 100).collect(),
            (0..42).map(|power| 1u64 << power).collect::<Vec<_>>(),
        ];
        for (values, scale_max) in all_values.iter().flat_map(|v| [(v, 10), (v, 8), (v, 3)]) {
            let bounds = ExponentialBounds {
                scale_max,
                buckets_max: 160,
            };
            let histogram = recorded(values).exponential(bounds);
            assert!(histogram.counts.len() <= 160 && histogram.scale <= scale_max);
            let zeros = values.iter().filter(|value| **value == 0).count() as u64;
            assert_eq!(histogram.zero_count, zeros);
            let held: u64 = histogram.counts.iter().sum();
            assert_eq!(held + zeros, values.len() as u64);
            let base = 2f64.powf(2f64.powi(-histogram.scale));
            for (place, count) in histogram.counts.iter().enumerate() {
                let lower = base.powi(histogram.offset + place as i32);
                // HDR's own buckets of three digits may push a value over a bound.
                let inside = |slack: f64| {
                    let held = values.iter().filter(|value| {
                        let value = **value as f64 / 1e9;
                        value > lower * (1.0 - slack) && value <= lower * base * (1.0 + slack)
                    });
                    held.count() as u64
                };
                assert!(inside(0.001) >= *count, "bucket {place} of {values:?}");
                assert!(inside(-0.001) <= *count, "bucket {place} of {values:?}");
            }
        }
    }

    #[test]
    fn one_bucket_holds_everything_if_it_must() {
        let bounds = ExponentialBounds {
            scale_max: 8,
            buckets_max: 2,
        };
        let histogram = recorded(&[1, 3_600_000_000_000]).exponential(bounds);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 2);
        assert!(histogram.counts.len() <= 2);
    }
}

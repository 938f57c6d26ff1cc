//! Latencies, recorded and printed.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Distances between the rows of a `.hgrm` file: so many per halving of what is left above.
const ROWS_PER_HALF: u32 = 5;

/// A histogram for latencies: nanoseconds up to an hour, three significant digits.
///
/// # Panics
/// Never: the bounds are constants that the histogram accepts.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds are valid")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

/// A quantile in microseconds.
#[must_use]
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Writes the percentile distribution that HdrHistogram's own tools read, in microseconds.
///
/// # Errors
/// Those of `out`.
pub fn write_hgrm(histogram: &Histogram<u64>, mut out: impl Write) -> io::Result<()> {
    writeln!(
        out,
        "       Value     Percentile TotalCount 1/(1-Percentile)\n"
    )?;
    for step in histogram.iter_quantiles(ROWS_PER_HALF) {
        let quantile = step.quantile();
        let value = step.value_iterated_to() as f64 / 1e3;
        let count = histogram.count_between(0, step.value_iterated_to());
        if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(
                out,
                "{value:12.3} {quantile:2.12} {count:10} {inverse:14.2}"
            )?;
        } else {
            writeln!(out, "{value:12.3} {quantile:2.12} {count:10}")?;
        }
    }
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3
    )?;
    writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.max() as f64 / 1e3,
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        2048
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_file_has_its_rows_in_order() {
        let mut histogram = latency_histogram();
        for micros in 1..=10_000 {
            record(&mut histogram, Duration::from_micros(micros));
        }
        let mut text = Vec::new();
        write_hgrm(&histogram, &mut text).expect("write");
        let text = String::from_utf8(text).expect("text");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|n| n.parse().expect("a number"))
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20, "{text}");
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1])
        );
        let middle = rows.iter().find(|row| row[1] >= 0.5).expect("a median");
        assert!((4990.0..5010.0).contains(&middle[0]), "{middle:?}");
        assert_eq!(rows[rows.len() - 1][2], 10_000.0);
        assert!(text.contains("Total count    =        10000"));
    }
}

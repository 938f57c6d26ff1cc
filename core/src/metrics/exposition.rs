//! The metrics of all shards in the forms that scrapers read.

use super::histogram::HistogramSnapshot;
use super::snapshot::{Family, Series, Snapshot};
use super::{protobuf, text};
use crate::id::ShardNumber;

/// A form of exposition. Each sample has its `shard` label. A family that a shard reports with another
/// kind or unit than the shards before it is left out for that shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0 text.
    OpenMetrics,
    /// Prometheus' older text form, 0.0.4, which everything reads.
    Text,
    /// Prometheus' protocol buffers, the only form with native histograms.
    Protobuf,
}

impl Exposition {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The form that an `Accept` header wants most; [`Exposition::Text`] when it names none of them.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let mut found = parameters.iter().filter(|(key, _)| key.trim() == name);
                found.next().map(|(_, value)| value.trim())
            };
            let form = match media_type.as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "application/vnd.google.protobuf" if parameter("encoding") == Some("delimited") => {
                    Self::Protobuf
                }
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            let weight = parameter("q").map_or(Ok(1.0), str::parse).unwrap_or(0.0);
            if weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }

    /// The metrics of these shards.
    ///
    /// Histograms have fixed bounds from 1 µs to 60 s, counted from the HDR buckets: a value within 0.1 %
    /// above a bound may be counted under it. Native ones are as fine as Prometheus permits.
    #[must_use]
    pub fn render(self, shards: &[(ShardNumber, Snapshot)]) -> Vec<u8> {
        match self {
            Self::OpenMetrics => text::render(text::Form::OpenMetrics, shards).into_bytes(),
            Self::Text => text::render(text::Form::Prometheus, shards).into_bytes(),
            Self::Protobuf => protobuf::render(shards),
        }
    }
}

/// Upper bound of an exposed bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) ns: u64,
    /// In seconds, as OpenMetrics writes numbers.
    pub(super) text: &'static str,
}

pub(super) const BOUNDS: [Bound; 24] = [
    bound(1_000, "1e-06"),
    bound(2_500, "2.5e-06"),
    bound(5_000, "5e-06"),
    bound(10_000, "1e-05"),
    bound(25_000, "2.5e-05"),
    bound(50_000, "5e-05"),
    bound(100_000, "0.0001"),
    bound(250_000, "0.00025"),
    bound(500_000, "0.0005"),
    bound(1_000_000, "0.001"),
    bound(2_500_000, "0.0025"),
    bound(5_000_000, "0.005"),
    bound(10_000_000, "0.01"),
    bound(25_000_000, "0.025"),
    bound(50_000_000, "0.05"),
    bound(100_000_000, "0.1"),
    bound(250_000_000, "0.25"),
    bound(500_000_000, "0.5"),
    bound(1_000_000_000, "1.0"),
    bound(2_500_000_000, "2.5"),
    bound(5_000_000_000, "5.0"),
    bound(10_000_000_000, "10.0"),
    bound(30_000_000_000, "30.0"),
    bound(60_000_000_000, "60.0"),
];

const fn bound(ns: u64, text: &'static str) -> Bound {
    Bound { ns, text }
}

/// How many values are not above each bound.
pub(super) fn classic_buckets(
    histogram: &HistogramSnapshot,
) -> impl Iterator<Item = (Bound, u64)> + '_ {
    let mut buckets = histogram.buckets.iter().peekable();
    let mut count = 0u64;
    BOUNDS.into_iter().map(move |bound| {
        while let Some((_, more)) = buckets.next_if(|(lowest_ns, _)| *lowest_ns <= bound.ns) {
            count = count.saturating_add(*more);
        }
        (bound, count)
    })
}

/// Each family once, as the first shard that has it describes it.
pub(super) fn families(shards: &[(ShardNumber, Snapshot)]) -> impl Iterator<Item = &Family> {
    let mut shown: Vec<&str> = Vec::new();
    let all = shards.iter().flat_map(|(_, snapshot)| &snapshot.families);
    all.filter(move |family| {
        let new = !shown.contains(&family.name.as_str());
        if new {
            shown.push(&family.name);
        }
        new
    })
}

/// The series of a family on all shards.
pub(super) fn series_of<'a>(
    head: &'a Family,
    shards: &'a [(ShardNumber, Snapshot)],
) -> impl Iterator<Item = (ShardNumber, &'a Series)> {
    shards.iter().flat_map(|(shard, snapshot)| {
        let mut families = snapshot.families.iter();
        let family = families.find(|family| {
            family.name == head.name && family.kind == head.kind && family.unit == head.unit
        });
        let series = family.into_iter().flat_map(|family| &family.series);
        series.map(|series| (*shard, series))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_wanted_most() {
        // The first two are what Prometheus 2.42 sends, without and with native histograms.
        for (accept, form) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::Protobuf,
            ),
            (
                "application/vnd.google.protobuf;encoding=text",
                Exposition::Text,
            ),
            ("text/plain", Exposition::Text),
            ("*/*", Exposition::Text),
            ("", Exposition::Text),
            ("application/openmetrics-text;q=nonsense", Exposition::Text),
            (
                "application/openmetrics-text; q=0.2, text/plain; q=0.1",
                Exposition::OpenMetrics,
            ),
            (
                "text/html, APPLICATION/OpenMetrics-Text;q=0.9",
                Exposition::OpenMetrics,
            ),
        ] {
            assert_eq!(Exposition::accepted(accept), form, "{accept}");
        }
    }

    #[test]
    fn bounds_rise_and_their_texts_are_their_values() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0].ns < pair[1].ns));
        for bound in BOUNDS {
            let seconds: f64 = bound.text.parse().expect("a number");
            assert_eq!((seconds * 1e9).round() as u64, bound.ns, "{}", bound.text);
        }
    }
}

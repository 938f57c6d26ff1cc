//! What happened on a shard between two moments: the difference of two snapshots.

use std::collections::HashMap;

use vyr_client::ShardMetrics;
use vyr_core::id::ShardNumber;
use vyr_core::metrics::{Family, HistogramSnapshot, Series, Snapshot, Value};

/// A shard's metrics over an interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interval {
    /// The shard.
    pub(crate) shard: ShardNumber,
    /// When it began, milliseconds since the Unix epoch.
    pub(crate) start_unix_ms: u64,
    /// How long it was, milliseconds.
    pub(crate) length_ms: u64,
    /// Gauges as they are at its end, everything else as it grew.
    growth: Snapshot,
}

impl Interval {
    /// From one snapshot of a shard to a later one. A value that fell means that the shard's process
    /// is a new one: then everything it counts is new.
    pub(crate) fn between(before: &ShardMetrics, after: &ShardMetrics) -> Self {
        let past = Past::of(&before.snapshot);
        let is_new_process = all_series(&after.snapshot)
            .any(|(family, series)| past.get(family, series).is_some_and(|v| fell(v, series)));
        let past = if is_new_process {
            Past::default()
        } else {
            past
        };
        let families = after.snapshot.families.iter();
        let families = families.map(|family| Family {
            series: family
                .series
                .iter()
                .map(|series| Series {
                    labels: series.labels.clone(),
                    value: grown(past.get(family, series), &series.value),
                })
                .collect(),
            ..family.clone()
        });
        Self {
            shard: after.shard,
            start_unix_ms: before.unix_ms,
            length_ms: after.unix_ms.saturating_sub(before.unix_ms),
            growth: Snapshot {
                families: families.collect(),
            },
        }
    }

    /// How much a counter grew over all its label sets that have this label; a time counter grows in
    /// nanoseconds.
    pub(crate) fn counted(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        let value = |series: &Series| match series.value {
            Value::Counter(count) | Value::TimeCounter(count) if has(series, label) => count,
            _ => 0,
        };
        self.series(name).map(value).sum()
    }

    /// [`Self::counted`], each second.
    pub(crate) fn rate(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        if self.length_ms == 0 {
            return 0.0;
        }
        self.counted(name, label) as f64 * 1000.0 / self.length_ms as f64
    }

    /// A gauge, over all its label sets; `None` when the shard has no such gauge.
    pub(crate) fn gauge(&self, name: &str) -> Option<f64> {
        let values = self.series(name).filter_map(|series| match series.value {
            Value::Gauge(value) => Some(value),
            _ => None,
        });
        values.reduce(|sum, value| sum + value)
    }

    /// The share of the interval in which the executor's thread computed.
    pub(crate) fn busy_share(&self) -> Option<f64> {
        self.series("vyr_executor_cpu_seconds").next()?;
        Some((self.rate("vyr_executor_cpu_seconds", None) / 1e9).min(1.0))
    }

    /// The times that were recorded in the interval, over all label sets.
    pub(crate) fn histogram(&self, name: &str) -> HistogramSnapshot {
        self.growth.histogram(name).unwrap_or_default()
    }

    /// Every histogram: its metric's name, its label values, and its times of the interval.
    pub(crate) fn histograms(
        &self,
    ) -> impl Iterator<Item = (&str, &[(String, String)], &HistogramSnapshot)> {
        all_series(&self.growth).filter_map(|(family, series)| match &series.value {
            Value::Histogram(histogram) => {
                Some((family.name.as_str(), series.labels.as_slice(), histogram))
            }
            _ => None,
        })
    }

    fn series(&self, name: &str) -> impl Iterator<Item = &Series> {
        let mut families = self.growth.families.iter();
        let found = families.find(|family| family.name == name);
        found.into_iter().flat_map(|family| &family.series)
    }
}

/// A metric's name and one of its label sets.
type Key<'a> = (&'a str, &'a [(String, String)]);

/// The values of a snapshot by name and labels.
#[derive(Default)]
struct Past<'a>(HashMap<Key<'a>, &'a Value>);

impl<'a> Past<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let values = all_series(snapshot).map(|(family, series)| {
            let key = (family.name.as_str(), series.labels.as_slice());
            (key, &series.value)
        });
        Self(values.collect())
    }

    fn get(&self, family: &Family, series: &Series) -> Option<&'a Value> {
        let key = (family.name.as_str(), series.labels.as_slice());
        self.0.get(&key).copied()
    }
}

fn all_series(snapshot: &Snapshot) -> impl Iterator<Item = (&Family, &Series)> {
    let families = snapshot.families.iter();
    families.flat_map(|family| family.series.iter().map(move |series| (family, series)))
}

fn has(series: &Series, label: Option<(&str, &str)>) -> bool {
    label.is_none_or(|(name, value)| {
        let mut labels = series.labels.iter();
        labels.any(|(own_name, own_value)| own_name == name && own_value == value)
    })
}

fn fell(before: &Value, after: &Series) -> bool {
    match (before, &after.value) {
        (Value::Counter(before), Value::Counter(after))
        | (Value::TimeCounter(before), Value::TimeCounter(after)) => after < before,
        (Value::Histogram(before), Value::Histogram(after)) => after.count() < before.count(),
        _ => false,
    }
}

fn grown(before: Option<&Value>, after: &Value) -> Value {
    match (before, after) {
        (Some(Value::Counter(before)), Value::Counter(after)) => {
            Value::Counter(after.saturating_sub(*before))
        }
        (Some(Value::TimeCounter(before)), Value::TimeCounter(after)) => {
            Value::TimeCounter(after.saturating_sub(*before))
        }
        (Some(Value::Histogram(before)), Value::Histogram(after)) => {
            Value::Histogram(difference(before, after))
        }
        (_, after) => after.clone(),
    }
}

/// What was recorded between two snapshots of one histogram.
fn difference(before: &HistogramSnapshot, after: &HistogramSnapshot) -> HistogramSnapshot {
    let past: HashMap<u64, u64> = before.buckets.iter().copied().collect();
    let buckets = after.buckets.iter().map(|&(lowest_ns, count)| {
        let before = past.get(&lowest_ns).copied().unwrap_or(0);
        (lowest_ns, count.saturating_sub(before))
    });
    HistogramSnapshot {
        sum_ns: after.sum_ns.saturating_sub(before.sum_ns),
        buckets: buckets.filter(|&(_, count)| count > 0).collect(),
    }
}

#[cfg(test)]
mod tests;

//! The values of a registry at one moment, in a form that travels between shards as JSON.

use serde::{Deserialize, Serialize};

use super::histogram::HistogramSnapshot;
use super::registry::Unit;

/// All metrics of one shard at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// One entry for each registered metric, in the order of registration.
    pub families: Vec<Family>,
}

/// One metric with the values of all its label sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Its name, without `_total`.
    pub name: String,
    /// What it counts.
    pub kind: FamilyKind,
    /// The unit of its values as OpenMetrics shows them.
    pub unit: Unit,
    /// One sentence on what it tells.
    pub help: String,
    /// One entry for each label set.
    pub series: Vec<Series>,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FamilyKind {
    /// What only rises.
    Counter,
    /// What rises and falls.
    Gauge,
    /// A distribution of times.
    Histogram,
}

/// The value of one label set of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Label names and values, in the order of registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
}

/// A metric's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A count.
    Counter(u64),
    /// A time that adds up, nanoseconds.
    TimeCounter(u64),
    /// What rises and falls; always finite.
    Gauge(f64),
    /// A distribution of times.
    Histogram(HistogramSnapshot),
}

impl Snapshot {
    /// The value of a metric under exactly these labels, in any order.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let family = self.families.iter().find(|family| family.name == name)?;
        let series = family
            .series
            .iter()
            .find(|series| series.has_labels(labels))?;
        Some(&series.value)
    }

    /// A metric's histogram over all its label sets; `None` when there is no such histogram.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<HistogramSnapshot> {
        let family = self.families.iter().find(|family| family.name == name)?;
        let mut merged = HistogramSnapshot::default();
        for series in &family.series {
            let Value::Histogram(histogram) = &series.value else {
                return None;
            };
            merged.merge(histogram);
        }
        Some(merged)
    }
}

impl Series {
    fn has_labels(&self, labels: &[(&str, &str)]) -> bool {
        self.labels.len() == labels.len()
            && labels.iter().all(|(name, value)| {
                self.labels
                    .iter()
                    .any(|(own, own_value)| own == name && own_value == value)
            })
    }
}

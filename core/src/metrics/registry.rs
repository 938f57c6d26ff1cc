//! The registry of one shard, and the handles it gives out.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::snapshot::{Family, FamilyKind, Series, Snapshot, Value};

/// The unit of a metric. All but [`Unit::Count`] end the metric's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A number of things, which the name says.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share between 0 and 1.
    Ratio,
}

impl Unit {
    /// The unit as OpenMetrics names it; empty for a count.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// What a metric is, whatever its labels: make it a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name: lower case, digits and underscores, ending in the unit, without `_total`.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// One sentence on what it tells.
    pub help: &'static str,
}

/// The metrics of one shard. Clones are the same registry.
#[derive(Clone, Default)]
pub struct Registry {
    families: Rc<RefCell<Vec<Registered>>>,
}

struct Registered {
    metric: Metric,
    kind: FamilyKind,
    series: Vec<(Vec<(String, String)>, Handle)>,
}

enum Handle {
    Counter(Counter),
    TimeCounter(TimeCounter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Registry {
    /// A registry without metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter under these labels.
    ///
    /// # Panics
    /// As every registration: when a name is not valid, when the metric was registered as another
    /// kind, or when these labels of it were registered before. All of them are fixed in the code.
    #[must_use]
    pub fn counter(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Counter {
        let handle = Counter::default();
        self.add(
            metric,
            FamilyKind::Counter,
            labels,
            Handle::Counter(handle.clone()),
        );
        handle
    }

    /// Registers a counter of time under these labels. Its unit is [`Unit::Seconds`].
    ///
    /// # Panics
    /// As [`Registry::counter`].
    #[must_use]
    pub fn time_counter(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> TimeCounter {
        assert!(
            metric.unit == Unit::Seconds,
            "'{}' counts time: its unit is seconds",
            metric.name
        );
        let handle = TimeCounter::default();
        self.add(
            metric,
            FamilyKind::Counter,
            labels,
            Handle::TimeCounter(handle.clone()),
        );
        handle
    }

    /// Registers a gauge under these labels.
    ///
    /// # Panics
    /// As [`Registry::counter`].
    #[must_use]
    pub fn gauge(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Gauge {
        let handle = Gauge::default();
        self.add(
            metric,
            FamilyKind::Gauge,
            labels,
            Handle::Gauge(handle.clone()),
        );
        handle
    }

    /// Registers a histogram of times under these labels. Its unit is [`Unit::Seconds`].
    ///
    /// # Panics
    /// As [`Registry::counter`].
    #[must_use]
    pub fn histogram(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Histogram {
        assert!(
            metric.unit == Unit::Seconds,
            "'{}' has times: its unit is seconds",
            metric.name
        );
        let handle = Histogram::new();
        self.add(
            metric,
            FamilyKind::Histogram,
            labels,
            Handle::Histogram(handle.clone()),
        );
        handle
    }

    /// Forgets every series with this label. What is counted on their handles from then on is not told.
    pub fn remove(&self, label: (&str, &str)) {
        for family in self.families.borrow_mut().iter_mut() {
            family.series.retain(|(labels, _)| {
                let mut labels = labels.iter();
                !labels.any(|(name, value)| (name.as_str(), value.as_str()) == label)
            });
        }
    }

    /// All values now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let families = self.families.borrow();
        Snapshot {
            families: families.iter().map(Registered::snapshot).collect(),
        }
    }

    fn add(&self, metric: &Metric, kind: FamilyKind, labels: &[(&str, &str)], handle: Handle) {
        check_metric_name(metric);
        for (position, (label, _)) in labels.iter().enumerate() {
            check_label_name(label, metric.name);
            assert!(
                labels[..position]
                    .iter()
                    .all(|(earlier, _)| earlier != label),
                "'{}' has the label '{label}' twice",
                metric.name
            );
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut families = self.families.borrow_mut();
        match families
            .iter_mut()
            .find(|family| family.metric.name == metric.name)
        {
            None => {
                let series = vec![(labels, handle)];
                families.push(Registered {
                    metric: *metric,
                    kind,
                    series,
                });
            }
            Some(family) => {
                assert!(
                    family.metric == *metric && family.kind == kind,
                    "'{}' is registered with two meanings",
                    metric.name
                );
                family.add(labels, handle);
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = self.families.borrow();
        f.debug_list()
            .entries(families.iter().map(|family| family.metric.name))
            .finish()
    }
}

impl Registered {
    fn add(&mut self, labels: Vec<(String, String)>, handle: Handle) {
        let name = self.metric.name;
        for (earlier, _) in &self.series {
            assert!(
                *earlier != labels,
                "'{name}' is registered twice with {labels:?}"
            );
            let same_names = earlier.len() == labels.len()
                && earlier
                    .iter()
                    .zip(&labels)
                    .all(|((one, _), (other, _))| one == other);
            assert!(
                same_names,
                "'{name}' must have the same labels in the same order everywhere"
            );
        }
        self.series.push((labels, handle));
    }

    fn snapshot(&self) -> Family {
        let series = self
            .series
            .iter()
            .map(|(labels, handle)| Series {
                labels: labels.clone(),
                value: handle.value(),
            })
            .collect();
        Family {
            name: self.metric.name.to_owned(),
            kind: self.kind,
            unit: self.metric.unit,
            help: self.metric.help.to_owned(),
            series,
        }
    }
}

impl Handle {
    fn value(&self) -> Value {
        match self {
            Self::Counter(counter) => Value::Counter(counter.get()),
            Self::TimeCounter(counter) => Value::TimeCounter(counter.get_ns()),
            Self::Gauge(gauge) => Value::Gauge(gauge.get()),
            Self::Histogram(histogram) => Value::Histogram(histogram.snapshot()),
        }
    }
}

/// A handle on a count that only rises; clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    value: Rc<Cell<u64>>,
}

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.value.set(self.value.get().saturating_add(count));
    }

    /// Takes over the total of something that counts by itself; a lower one is ignored.
    pub fn raise_to(&self, total: u64) {
        self.value.set(self.value.get().max(total));
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.get()
    }
}

/// A handle on a time that adds up; clones add to the same.
#[derive(Debug, Clone, Default)]
pub struct TimeCounter {
    value_ns: Rc<Cell<u64>>,
}

impl TimeCounter {
    /// Adds a time in nanoseconds.
    pub fn add_ns(&self, time_ns: u64) {
        self.value_ns
            .set(self.value_ns.get().saturating_add(time_ns));
    }

    /// Adds a time.
    pub fn add(&self, time: Duration) {
        self.add_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes over the total, in nanoseconds, of something that counts by itself; a lower one is
    /// ignored.
    pub fn raise_to_ns(&self, total_ns: u64) {
        self.value_ns.set(self.value_ns.get().max(total_ns));
    }

    /// The time so far, nanoseconds.
    #[must_use]
    pub fn get_ns(&self) -> u64 {
        self.value_ns.get()
    }
}

/// A handle on a value that rises and falls; clones are the same value.
#[derive(Debug, Clone, Default)]
pub struct Gauge {
    value: Rc<Cell<f64>>,
}

impl Gauge {
    /// Sets a whole value; exact below 2⁵³.
    pub fn set(&self, value: i64) {
        self.value.set(value as f64);
    }

    /// Adds to the value, or with a negative number takes from it.
    pub fn add(&self, change: i64) {
        self.value.set(self.value.get() + change as f64);
    }

    /// Sets a time, which is shown in seconds.
    pub fn set_time(&self, value: Duration) {
        self.value.set(value.as_secs_f64());
    }

    /// Sets a share or another broken value. What is not a finite number is ignored.
    pub fn set_ratio(&self, value: f64) {
        if value.is_finite() {
            self.value.set(value);
        }
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.value.get()
    }
}

/// Endings that the exposition gives to samples, so that no metric may have them of its own.
const SAMPLE_ENDINGS: [&str; 7] = [
    "_total", "_created", "_count", "_sum", "_bucket", "_info", "_gcount",
];

fn check_metric_name(metric: &Metric) {
    let name = metric.name;
    assert!(
        is_snake_case(name),
        "'{name}' is not a metric name: lower case, digits, underscores"
    );
    for ending in SAMPLE_ENDINGS {
        assert!(
            !name.ends_with(ending),
            "'{name}': '{ending}' is added when it is shown"
        );
    }
    let unit = metric.unit.as_str();
    let ends_in_unit = unit.is_empty()
        || name
            .strip_suffix(unit)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('_'));
    assert!(ends_in_unit, "'{name}' must end in its unit, '_{unit}'");
    assert!(!metric.help.is_empty(), "'{name}' needs a sentence of help");
}

fn check_label_name(label: &str, metric: &str) {
    assert!(
        is_snake_case(label),
        "'{label}' of '{metric}' is not a label name"
    );
    assert!(
        !["shard", "le", "quantile"].contains(&label),
        "the label '{label}' of '{metric}' is added when it is shown"
    );
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.contains("__")
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: Metric = Metric {
        name: "vyr_tasks",
        unit: Unit::Count,
        help: "Tasks.",
    };

    #[test]
    fn a_clone_counts_into_the_same_metric() {
        let registry = Registry::new();
        let (failed, ok) = (
            registry.counter(&TASKS, &[("s", "f")]),
            registry.counter(&TASKS, &[("s", "ok")]),
        );
        failed.clone().add(2);
        failed.inc();
        ok.raise_to(7);
        ok.raise_to(3);
        let snapshot = registry.clone().snapshot();
        assert_eq!(
            snapshot.get("vyr_tasks", &[("s", "f")]),
            Some(&Value::Counter(3))
        );
        assert_eq!(
            snapshot.get("vyr_tasks", &[("s", "ok")]),
            Some(&Value::Counter(7))
        );
        assert_eq!(snapshot.get("vyr_tasks", &[]), None);
    }

    #[test]
    fn a_gauge_stays_finite() {
        let registry = Registry::new();
        let gauge = registry.gauge(&TASKS, &[]);
        gauge.set(5);
        gauge.add(-7);
        gauge.set_ratio(f64::NAN);
        gauge.set_ratio(f64::INFINITY);
        assert_eq!(gauge.get(), -2.0);
    }

    #[test]
    fn bad_and_duplicate_registrations_fail_loudly() {
        let metric = |name, unit| Metric {
            name,
            unit,
            help: "x",
        };
        type Labels = &'static [(&'static str, &'static str)];
        let cases: [(&str, Metric, Labels); 10] = [
            ("twice", TASKS, &[("kind", "http")]),
            ("other labels", TASKS, &[]),
            (
                "other meaning",
                metric("vyr_tasks", Unit::Count),
                &[("kind", "command")],
            ),
            ("upper case", metric("vyr_Tasks", Unit::Count), &[]),
            ("empty", metric("", Unit::Count), &[]),
            ("ending", metric("vyr_jobs_total", Unit::Count), &[]),
            ("unit", metric("vyr_memory", Unit::Bytes), &[]),
            ("only a unit", metric("bytes", Unit::Bytes), &[]),
            (
                "own label",
                metric("vyr_jobs", Unit::Count),
                &[("shard", "1")],
            ),
            (
                "label twice",
                metric("vyr_jobs", Unit::Count),
                &[("a", "1"), ("a", "2")],
            ),
        ];
        for (case, metric, labels) in cases {
            let outcome = std::panic::catch_unwind(|| {
                let registry = Registry::new();
                let _ = registry.counter(&TASKS, &[("kind", "http")]);
                let _ = registry.counter(&metric, labels);
            });
            assert!(outcome.is_err(), "{case} was accepted");
        }
    }
}

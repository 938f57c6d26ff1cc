//! The metrics of all shards as Prometheus' protocol buffers, with native histograms beside the classic
//! ones.
//!
//! Messages and field numbers are those of `io/prometheus/client/metrics.proto`, version 0.3:
//! <https://github.com/prometheus/client_model>.

use prost::Message;

use super::exponential::ExponentialBounds;
use super::exposition::{classic_buckets, families, series_of};
use super::histogram::HistogramSnapshot;
use super::snapshot::{Family, FamilyKind, Series, Snapshot, Value};
use crate::id::ShardNumber;

/// The finest that Prometheus takes: buckets are 0.27 % wide. As many buckets as its own clients have.
const BOUNDS: ExponentialBounds = ExponentialBounds {
    scale_max: 8,
    buckets_max: 160,
};

/// What counts as zero: nothing that a histogram of nanoseconds tells from it. Older versions of Prometheus, such as
/// 2.42, tell by this alone that a histogram without observations is a native one.
const ZERO_THRESHOLD_SECONDS: f64 = 2.938_735_877_055_719e-39;

/// Every family, each behind its length.
pub(super) fn render(shards: &[(ShardNumber, Snapshot)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 << 10);
    for head in families(shards) {
        let metrics = series_of(head, shards);
        let message = MetricFamily {
            name: name(head),
            help: head.help.clone(),
            kind: match head.kind {
                FamilyKind::Counter => MetricType::Counter,
                FamilyKind::Gauge => MetricType::Gauge,
                FamilyKind::Histogram => MetricType::Histogram,
            }
            .into(),
            metrics: metrics
                .map(|(shard, series)| metric(shard, series))
                .collect(),
        };
        bytes.extend_from_slice(&message.encode_length_delimited_to_vec());
    }
    bytes
}

fn name(family: &Family) -> String {
    match family.kind {
        FamilyKind::Counter => format!("{}_total", family.name),
        _ => family.name.clone(),
    }
}

fn metric(shard: ShardNumber, series: &Series) -> Metric {
    let own = series.labels.iter().map(|(name, value)| LabelPair {
        name: name.clone(),
        value: value.clone(),
    });
    let shard = LabelPair {
        name: "shard".to_owned(),
        value: shard.to_string(),
    };
    let mut metric = Metric {
        labels: std::iter::once(shard).chain(own).collect(),
        ..Metric::default()
    };
    match &series.value {
        Value::Counter(count) => metric.counter = Some(Number::of(*count as f64)),
        Value::TimeCounter(time_ns) => metric.counter = Some(Number::of(seconds(*time_ns))),
        Value::Gauge(value) => metric.gauge = Some(Number::of(*value)),
        Value::Histogram(histogram) => metric.histogram = Some(distribution(histogram)),
    }
    metric
}

fn distribution(histogram: &HistogramSnapshot) -> Histogram {
    let native = histogram.exponential(BOUNDS);
    let mut before = 0;
    let deltas = native.counts.iter().map(|count| {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        count - std::mem::replace(&mut before, count)
    });
    let deltas: Vec<i64> = deltas.collect();
    // Prometheus numbers a bucket by its upper bound, OpenTelemetry by its lower one. Without any bucket,
    // an empty span still says that the histogram is a native one.
    let span = BucketSpan {
        offset: native.offset + 1,
        length: u32::try_from(deltas.len()).unwrap_or(u32::MAX),
    };
    Histogram {
        sample_count: histogram.count(),
        sample_sum: seconds(histogram.sum_ns),
        buckets: classic_buckets(histogram)
            .map(|(bound, count)| Bucket {
                cumulative_count: count,
                upper_bound: seconds(bound.ns),
            })
            .collect(),
        schema: native.scale,
        zero_threshold: ZERO_THRESHOLD_SECONDS,
        zero_count: native.zero_count,
        positive_spans: vec![span],
        positive_deltas: deltas,
    }
}

fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `Gauge` and `Counter` look alike. The value is written even if it is zero.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

impl Number {
    fn of(value: f64) -> Self {
        Self { value: Some(value) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_deltas: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[cfg(test)]
mod tests {
    use super::super::{Metric as Described, Registry, Unit};
    use super::*;

    const TASKS: Described = Described {
        name: "vyr_tasks",
        unit: Unit::Count,
        help: "Tasks.",
    };
    const TIMES: Described = Described {
        name: "vyr_task_seconds",
        unit: Unit::Seconds,
        help: "Times.",
    };

    fn read(mut bytes: &[u8]) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        while !bytes.is_empty() {
            let family = MetricFamily::decode_length_delimited(&mut bytes);
            families.push(family.expect("a family"));
        }
        families
    }

    #[test]
    fn counters_and_native_histograms_read_back() {
        let registry = Registry::new();
        registry.counter(&TASKS, &[("status", "failed")]).add(7);
        let times = registry.histogram(&TIMES, &[]);
        let values = [0, 1_000_000, 1_000_000, 2_000_000];
        values.iter().for_each(|value| times.record_ns(*value));
        let shards = [
            (ShardNumber(0), registry.snapshot()),
            (ShardNumber(3), Registry::new().snapshot()),
            (ShardNumber(4), registry.snapshot()),
        ];
        let families = read(&render(&shards));
        let [tasks, times] = families.as_slice() else {
            panic!("two families");
        };
        assert_eq!((tasks.name.as_str(), tasks.kind), ("vyr_tasks_total", 0));
        let shards: Vec<_> = tasks
            .metrics
            .iter()
            .map(|metric| metric.labels[0].value.as_str())
            .collect();
        assert_eq!(shards, ["0", "4"]);
        assert_eq!(tasks.metrics[1].counter, Some(Number::of(7.0)));
        let histogram = times.metrics[0].histogram.as_ref().expect("a histogram");
        assert_eq!((histogram.sample_count, histogram.zero_count), (4, 1));
        assert!(histogram.zero_threshold > 0.0 && histogram.zero_threshold < 1e-9);
        let span = &histogram.positive_spans[0];
        let mut count = 0;
        let counts: Vec<i64> = histogram
            .positive_deltas
            .iter()
            .map(|delta| {
                count += delta;
                count
            })
            .collect();
        assert_eq!(counts.len(), span.length as usize);
        // One octave apart: as many buckets as an octave has.
        let octave = 1 << histogram.schema;
        let held = |place: &i64| counts[*place as usize];
        let full: Vec<i64> = (0..counts.len() as i64)
            .filter(|place| held(place) > 0)
            .collect();
        assert_eq!(full, [0, octave], "{counts:?}");
        assert_eq!((held(&0), held(&octave)), (2, 1));
        // The first bucket's upper bound, as Prometheus computes it, is not below its values.
        let upper = 2f64.powf(f64::from(span.offset) * 2f64.powi(-histogram.schema));
        assert!((0.001..0.00101).contains(&upper), "{upper}");
        let classic = &histogram.buckets;
        let of_a_millisecond = classic.iter().find(|bucket| bucket.upper_bound == 0.001);
        assert_eq!(
            of_a_millisecond.map(|bucket| bucket.cumulative_count),
            Some(3)
        );
    }
}

//! A shard's metrics as an OTLP request.
//!
//! Names are those of `/metrics` with dots: `vyr_tasks` is `vyr.tasks`, and a unit at the end of a name
//! becomes the unit's own field. Counts and times since the start of the shard are cumulative. The HDR
//! histograms become exponential ones, of the finest scale that fits into [`BUCKETS_MAX`] buckets:
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use vyr_core::metrics::{Family, FamilyKind, HistogramSnapshot, Series, Snapshot, Unit, Value};

use super::resource::{Resource, scope};

/// Buckets of one histogram, as the OpenTelemetry SDKs have it.
const BUCKETS_MAX: i32 = 160;
/// The finest scale that is tried: its buckets are 0.07 % wide, about as HDR's of three digits.
const SCALE_MAX: i32 = 10;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// From when to when the values are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    pub(super) start_unix_ns: u64,
    pub(super) end_unix_ns: u64,
}

pub(super) fn metrics_message(
    snapshot: &Snapshot,
    resource: &Resource,
    period: Period,
) -> ExportMetricsServiceRequest {
    let metrics = snapshot.families.iter();
    let scope_metrics = ScopeMetrics {
        scope: Some(scope()),
        metrics: metrics.map(|family| metric(family, period)).collect(),
        ..ScopeMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(family: &Family, period: Period) -> Metric {
    let unit = family.unit.as_str();
    let name = family.name.strip_suffix(unit).unwrap_or(&family.name);
    let numbers = || {
        let series = family.series.iter();
        series.map(|series| number(series, period)).collect()
    };
    let data = match family.kind {
        FamilyKind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        FamilyKind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        FamilyKind::Histogram => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: family
                .series
                .iter()
                .filter_map(|series| match &series.value {
                    Value::Histogram(histogram) => Some(distribution(series, histogram, period)),
                    _ => None,
                })
                .collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    Metric {
        name: name.trim_end_matches('_').replace('_', "."),
        description: family.help.clone(),
        // UCUM's names.
        unit: match family.unit {
            Unit::Count | Unit::Ratio => "1",
            Unit::Seconds => "s",
            Unit::Bytes => "By",
        }
        .into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(series: &Series, period: Period) -> NumberDataPoint {
    use number_data_point::Value::{AsDouble, AsInt};
    let value = match &series.value {
        Value::Counter(count) => AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::TimeCounter(time_ns) => AsDouble(seconds(*time_ns)),
        Value::Gauge(value) => AsDouble(*value),
        Value::Histogram(histogram) => AsInt(i64::try_from(histogram.count()).unwrap_or(i64::MAX)),
    };
    NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: period.start_unix_ns,
        time_unix_nano: period.end_unix_ns,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn distribution(
    series: &Series,
    histogram: &HistogramSnapshot,
    period: Period,
) -> ExponentialHistogramDataPoint {
    let counted = |(time_ns, _): &&(u64, u64)| *time_ns > 0;
    let indexes: Vec<(i32, u64)> = histogram
        .buckets
        .iter()
        .filter(counted)
        .map(|(time_ns, count)| (index(*time_ns), *count))
        .collect();
    let (first, last) = match (indexes.first(), indexes.last()) {
        (Some((first, _)), Some((last, _))) => (*first, *last),
        _ => (0, 0),
    };
    // Each scale below has buckets of twice the width.
    let down = (0..)
        .find(|down| (last >> down) - (first >> down) < BUCKETS_MAX)
        .unwrap_or_default();
    let offset = first >> down;
    let mut bucket_counts = Vec::new();
    for (index, count) in &indexes {
        let place = ((index >> down) - offset) as usize;
        if bucket_counts.len() <= place {
            bucket_counts.resize(place + 1, 0);
        }
        bucket_counts[place] += count;
    }
    let zeros = histogram.buckets.iter().filter(|bucket| !counted(bucket));
    ExponentialHistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: period.start_unix_ns,
        time_unix_nano: period.end_unix_ns,
        count: histogram.count(),
        sum: Some(seconds(histogram.sum_ns)),
        scale: SCALE_MAX - down,
        zero_count: zeros.map(|(_, count)| count).sum(),
        positive: Some(Buckets {
            offset,
            bucket_counts,
        }),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// The bucket of a time at the finest scale: that above whose lower bound, and not above whose upper
/// bound, the seconds are.
fn index(time_ns: u64) -> i32 {
    let buckets_per_octave = f64::from(1 << SCALE_MAX);
    (seconds(time_ns).log2() * buckets_per_octave).ceil() as i32 - 1
}

fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    let labels = series.labels.iter();
    labels
        .map(|(name, value)| KeyValue {
            key: format!("vyr.{name}"),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.clone())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use vyr_core::metrics::{Metric as Described, Registry};

    use super::*;

    const TASKS: Described = Described {
        name: "vyr_tasks",
        unit: Unit::Count,
        help: "Tasks.",
    };
    const TIMES: Described = Described {
        name: "vyr_task_queue_seconds",
        unit: Unit::Seconds,
        help: "Times.",
    };

    fn message(registry: &Registry) -> Vec<Metric> {
        let period = Period {
            start_unix_ns: 1,
            end_unix_ns: 2,
        };
        let mut request = metrics_message(&registry.snapshot(), &Resource::default(), period);
        let mut resource = request.resource_metrics.remove(0);
        resource.scope_metrics.remove(0).metrics
    }

    #[test]
    fn counters_are_monotonic_sums_under_dotted_names() {
        let registry = Registry::new();
        registry
            .counter(&TASKS, &[("status", "failed")])
            .add(1 << 40);
        let metric = message(&registry).remove(0);
        assert_eq!(
            (metric.name.as_str(), metric.unit.as_str()),
            ("vyr.tasks", "1")
        );
        let Some(metric::Data::Sum(sum)) = metric.data else {
            panic!("a counter is a sum");
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(1 << 40)));
        assert_eq!(point.attributes[0].key, "vyr.status");
    }

    #[test]
    fn every_time_is_in_the_bucket_that_holds_it() {
        // From one nanosecond to an hour, from a single bucket to too many for the finest scale.
        for values in [
            vec![],
            vec![0, 0, 7],
            vec![12_345],
            (0..400).map(|step| 100_000 + step * 100).collect(),
            (0..42).map(|power| 1u64 << power).collect::<Vec<_>>(),
        ] {
            let registry = Registry::new();
            let histogram = registry.histogram(&TIMES, &[]);
            values.iter().for_each(|value| histogram.record_ns(*value));
            let metric = message(&registry).remove(0);
            assert_eq!(
                (metric.name.as_str(), metric.unit.as_str()),
                ("vyr.task.queue", "s")
            );
            let Some(metric::Data::ExponentialHistogram(data)) = metric.data else {
                panic!("a histogram is an exponential one");
            };
            let point = &data.data_points[0];
            let buckets = point.positive.as_ref().expect("buckets");
            assert!(buckets.bucket_counts.len() <= BUCKETS_MAX as usize);
            assert_eq!(point.count, values.len() as u64);
            let zeros = values.iter().filter(|value| **value == 0).count() as u64;
            assert_eq!(point.zero_count, zeros);
            let base = 2f64.powf(2f64.powi(-point.scale));
            for (place, count) in buckets.bucket_counts.iter().enumerate() {
                let lower = base.powi(buckets.offset + place as i32);
                // HDR's own buckets of three digits may push a value over a bound.
                let inside = |slack: f64| {
                    let held = values.iter().filter(|value| {
                        let value = seconds(**value);
                        value > lower * (1.0 - slack) && value <= lower * base * (1.0 + slack)
                    });
                    held.count() as u64
                };
                assert!(inside(0.001) >= *count, "bucket {place} of {values:?}");
                assert!(inside(-0.001) <= *count, "bucket {place} of {values:?}");
            }
        }
    }
}

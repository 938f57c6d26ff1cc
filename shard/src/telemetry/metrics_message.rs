//! A shard's metrics as an OTLP request.
//!
//! Names are those of `/metrics` with dots: `vyr_tasks` is `vyr.tasks`. Seconds at the end of a name become the unit's
//! own field; bytes stay, because `vyr.tasks.kept` counts tasks and `vyr.tasks.kept.bytes` what they hold. Counts and times since the start of the shard are cumulative. The HDR
//! histograms become exponential ones.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use vyr_core::metrics::{
    ExponentialBounds, Family, FamilyKind, HistogramSnapshot, Series, Snapshot, Unit, Value,
};

use super::resource::{Resource, scope};

/// As many buckets as the OpenTelemetry SDKs have; the finest are 0.07 % wide, about as HDR's of three
/// digits.
const BOUNDS: ExponentialBounds = ExponentialBounds {
    scale_max: 10,
    buckets_max: 160,
};
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
        name: name(family),
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

fn name(family: &Family) -> String {
    let name = family.name.as_str();
    let name = name.strip_suffix("_seconds").unwrap_or(name);
    name.replace('_', ".")
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
    let buckets = histogram.exponential(BOUNDS);
    ExponentialHistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: period.start_unix_ns,
        time_unix_nano: period.end_unix_ns,
        count: histogram.count(),
        sum: Some(seconds(histogram.sum_ns)),
        scale: buckets.scale,
        zero_count: buckets.zero_count,
        positive: Some(Buckets {
            offset: buckets.offset,
            bucket_counts: buckets.counts,
        }),
        ..ExponentialHistogramDataPoint::default()
    }
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
    use std::collections::HashSet;

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
    fn histograms_are_exponential_and_have_every_time() {
        let registry = Registry::new();
        let histogram = registry.histogram(&TIMES, &[]);
        let values = [0, 0, 7, 12_345, 3_000_000_000];
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
        assert_eq!((point.count, point.zero_count), (5, 2));
        let buckets = point.positive.as_ref().expect("buckets");
        assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), 3);
        // Three seconds are in the last bucket, which is as wide as HDR's three digits and the scale make it.
        let base = 2f64.powf(2f64.powi(-point.scale));
        let last = buckets.offset + buckets.bucket_counts.len() as i32 - 1;
        let (from, to) = (base.powi(last), base.powi(last + 1));
        assert!(from <= 3.003 && 2.997 <= to, "{from} to {to}");
    }

    #[test]
    fn every_metric_of_a_shard_has_a_name_of_its_own() {
        let families = crate::metrics::Metrics::new().registered().families;
        let names: HashSet<String> = families.iter().map(name).collect();
        assert_eq!(names.len(), families.len(), "{names:?}");
        for wanted in ["vyr.tasks.kept", "vyr.tasks.kept.bytes", "vyr.executor.cpu"] {
            assert!(names.contains(wanted), "{wanted} is not in {names:?}");
        }
    }
}

//! The OpenMetrics 1.0 text exposition of all shards' metrics.
//!
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::fmt::Write;

use super::histogram::HistogramSnapshot;
use super::snapshot::{Family, FamilyKind, Series, Snapshot, Value};
use crate::id::ShardNumber;

/// Upper bounds of the exposed histogram buckets: nanoseconds, and the same in seconds as
/// OpenMetrics writes numbers.
const BOUNDS: [(u64, &str); 24] = [
    (1_000, "1e-06"),
    (2_500, "2.5e-06"),
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (25_000, "2.5e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
];

/// The metrics of all shards as OpenMetrics 1.0 text, each sample with its `shard` label.
///
/// The media type is `application/openmetrics-text; version=1.0.0; charset=utf-8`. Histograms have
/// fixed bounds from 1 µs to 60 s, counted from the HDR buckets: a value within 0.1 % above a bound
/// may be counted under it. A family that a shard reports with another kind or unit than the shards
/// before it is left out for that shard.
#[must_use]
pub fn render_openmetrics(shards: &[(ShardNumber, Snapshot)]) -> String {
    let mut text = String::with_capacity(64 << 10);
    let mut shown: Vec<&str> = Vec::new();
    for family in shards.iter().flat_map(|(_, snapshot)| &snapshot.families) {
        if !shown.contains(&family.name.as_str()) {
            shown.push(&family.name);
            render_family(&mut text, family, shards);
        }
    }
    text.push_str("# EOF\n");
    text
}

fn render_family(text: &mut String, head: &Family, shards: &[(ShardNumber, Snapshot)]) {
    let name = &head.name;
    let kind = match head.kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    };
    push(text, format_args!("# TYPE {name} {kind}\n"));
    let unit = head.unit.as_str();
    if !unit.is_empty() {
        push(text, format_args!("# UNIT {name} {unit}\n"));
    }
    push(text, format_args!("# HELP {name} "));
    push_escaped(text, &head.help);
    text.push('\n');

    for (shard, snapshot) in shards {
        let same = |family: &&Family| {
            family.name == *name && family.kind == head.kind && family.unit == head.unit
        };
        let Some(family) = snapshot.families.iter().find(same) else {
            continue;
        };
        for series in &family.series {
            let labels = labels(*shard, series);
            match &series.value {
                Value::Counter(count) => {
                    push(text, format_args!("{name}_total{{{labels}}} {count}\n"));
                }
                Value::TimeCounter(time_ns) => {
                    let seconds = seconds(*time_ns);
                    push(text, format_args!("{name}_total{{{labels}}} {seconds}\n"));
                }
                Value::Gauge(value) => push(text, format_args!("{name}{{{labels}}} {value}\n")),
                Value::Histogram(histogram) => render_histogram(text, name, &labels, histogram),
            }
        }
    }
}

fn render_histogram(text: &mut String, name: &str, labels: &str, histogram: &HistogramSnapshot) {
    let mut buckets = histogram.buckets.iter().peekable();
    let mut count = 0u64;
    for (bound_ns, bound_text) in BOUNDS {
        while let Some((_, more)) = buckets.next_if(|(lowest_ns, _)| *lowest_ns <= bound_ns) {
            count = count.saturating_add(*more);
        }
        push(
            text,
            format_args!("{name}_bucket{{{labels},le=\"{bound_text}\"}} {count}\n"),
        );
    }
    let count = histogram.count();
    push(
        text,
        format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n"),
    );
    push(text, format_args!("{name}_count{{{labels}}} {count}\n"));
    push(
        text,
        format_args!("{name}_sum{{{labels}}} {}\n", seconds(histogram.sum_ns)),
    );
}

fn labels(shard: ShardNumber, series: &Series) -> String {
    let mut labels = format!("shard=\"{shard}\"");
    for (name, value) in &series.labels {
        push(&mut labels, format_args!(",{name}=\""));
        push_escaped(&mut labels, value);
        labels.push('"');
    }
    labels
}

fn seconds(time_ns: u64) -> String {
    format!("{}.{:09}", time_ns / 1_000_000_000, time_ns % 1_000_000_000)
}

/// Escapes a label value or a help text (section "ABNF", `escaped-string`).
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests;

//! The metrics of all shards as text, in the two forms that are read: OpenMetrics 1.0
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>) and the older
//! one of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write;

use super::exposition::{classic_buckets, families, series_of};
use super::histogram::HistogramSnapshot;
use super::snapshot::{Family, FamilyKind, Series, Snapshot, Value};
use crate::id::ShardNumber;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    OpenMetrics,
    Prometheus,
}

pub(super) fn render(form: Form, shards: &[(ShardNumber, Snapshot)]) -> String {
    let mut text = String::with_capacity(64 << 10);
    for head in families(shards) {
        render_head(&mut text, form, head);
        for (shard, series) in series_of(head, shards) {
            render_series(&mut text, head, shard, series);
        }
    }
    if form == Form::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

/// The lines that say what a family is. The older form has no units, and a counter's name is that of its
/// samples.
fn render_head(text: &mut String, form: Form, family: &Family) {
    let kind = match family.kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    };
    let ending = match (form, family.kind) {
        (Form::Prometheus, FamilyKind::Counter) => "_total",
        _ => "",
    };
    let name = &family.name;
    push(text, format_args!("# TYPE {name}{ending} {kind}\n"));
    let unit = family.unit.as_str();
    if form == Form::OpenMetrics && !unit.is_empty() {
        push(text, format_args!("# UNIT {name} {unit}\n"));
    }
    push(text, format_args!("# HELP {name}{ending} "));
    push_escaped(text, &family.help, form == Form::OpenMetrics);
    text.push('\n');
}

fn render_series(text: &mut String, family: &Family, shard: ShardNumber, series: &Series) {
    let name = &family.name;
    let labels = labels(shard, series);
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

fn render_histogram(text: &mut String, name: &str, labels: &str, histogram: &HistogramSnapshot) {
    for (bound, count) in classic_buckets(histogram) {
        let bound = bound.text;
        push(
            text,
            format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}\n"),
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
        push_escaped(&mut labels, value, true);
        labels.push('"');
    }
    labels
}

fn seconds(time_ns: u64) -> String {
    format!("{}.{:09}", time_ns / 1_000_000_000, time_ns % 1_000_000_000)
}

/// Escapes a label value or a help text. The older form keeps quotes in a help text as they are.
fn push_escaped(text: &mut String, value: &str, with_quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' if with_quotes => text.push_str("\\\""),
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

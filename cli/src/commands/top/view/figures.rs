//! The figures of the node: cores, rates, latencies, pools, states.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{ends, row};
use crate::commands::figures::{bytes, count, rate, share, time};
use crate::commands::top::model::{Model, Shard};
use crate::commands::top::style::Palette;

/// Columns that a core's bar with its figures has at least.
const BUSY_COLUMNS_MIN: u16 = 38;
/// From so many columns on the waiting tasks are told for each core.
const BUSY_COLUMNS_WIDE: usize = 50;
/// Columns of the names at the left.
const LABEL_COLUMNS: usize = 9;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Rows that the cores' bars take: at most a quarter of the terminal.
pub(super) fn busy_rows(model: &Model, area: Rect) -> u16 {
    let rows = model.shards.len().div_ceil(busy_columns(area)).max(1);
    let rows_max = (area.height / 4).max(1);
    u16::try_from(rows).unwrap_or(rows_max).min(rows_max)
}

fn busy_columns(area: Rect) -> usize {
    usize::from((area.width / BUSY_COLUMNS_MIN).max(1))
}

/// A bar for each core.
pub(super) fn busy(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let columns = busy_columns(area);
    let width = usize::from(area.width) / columns;
    let places = columns * usize::from(area.height);
    if model.shards.is_empty() {
        let waiting = Span::styled(" waiting for the first metrics", palette.quiet());
        frame.render_widget(Line::from(waiting), area);
        return;
    }
    let hidden = model.shards.len().saturating_sub(places);
    let shown = if hidden > 0 {
        places.saturating_sub(1)
    } else {
        places
    };
    let last = model.shards.last_key_value();
    let digits = last.map_or(1, |(number, _)| number.to_string().len());
    let cores = model.shards.iter().take(shown);
    let mut cells: Vec<Vec<Span<'static>>> = cores
        .map(|(number, shard)| core(&format!("{:>digits$}", number.0), shard, width, palette))
        .collect();
    if hidden > 0 {
        let more = format!(" and {} more", hidden + 1);
        cells.push(vec![Span::styled(more, palette.quiet())]);
    }
    for (index, line) in cells.chunks(columns).enumerate() {
        if let Some(area) = row(area, index) {
            let padded = line.iter().flat_map(|cell| pad(cell.clone(), width));
            frame.render_widget(Line::from_iter(padded), area);
        }
    }
}

fn core(number: &str, shard: &Shard, width: usize, palette: Palette) -> Vec<Span<'static>> {
    let name = Span::styled(format!(" shard {number} "), palette.label());
    if shard.is_missing {
        let missing = Span::styled("does not answer", palette.bad());
        return vec![name, missing];
    }
    let interval = shard.interval.as_ref();
    let busy = interval.and_then(|interval| interval.busy_share());
    let gauge = |name| {
        let value = interval.and_then(|interval| interval.gauge(name));
        value.map_or_else(|| "-".into(), whole)
    };
    let mut figures = format!(
        " {:>4} {:>4} run",
        busy.map_or_else(|| "-".into(), share),
        gauge("vyr_tasks_running"),
    );
    if width >= BUSY_COLUMNS_WIDE {
        figures.push_str(&format!(" {:>4} wait", gauge("vyr_tasks_queued")));
    }
    let cells = width.saturating_sub(name.width() + figures.len() + 1);
    let filled = (busy.unwrap_or(0.0) * cells as f64).round() as usize;
    let filled = filled.min(cells);
    vec![
        name,
        Span::styled("█".repeat(filled), palette.load(busy.unwrap_or(0.0))),
        Span::styled("·".repeat(cells - filled), palette.quiet()),
        Span::raw(figures),
    ]
}

/// Rates, and the curve of all tasks.
pub(super) fn rates(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let ended = model.rate("vyr_tasks", None);
    let succeeded = model.rate("vyr_tasks", Some(("status", "succeeded")));
    let failed = (ended - succeeded).max(0.0);
    let refused = model.rate("vyr_tasks_refused", None);
    let alarming = |per_second: f64| {
        if per_second > 0.0 {
            palette.bad()
        } else {
            palette.quiet()
        }
    };
    let spans = vec![
        label("tasks", palette),
        Span::styled(format!("{:>5}/s ok", rate(succeeded)), palette.good()),
        Span::styled(format!("  {:>5}/s failed", rate(failed)), alarming(failed)),
        Span::styled(
            format!("  {:>5}/s refused", rate(refused)),
            alarming(refused),
        ),
        Span::raw("  "),
    ];
    let taken: usize = spans.iter().map(Span::width).sum();
    let curve = curve(model, usize::from(area.width).saturating_sub(taken + 1));
    let curve = vec![Span::styled(curve, palette.label()), Span::raw(" ")];
    frame.render_widget(ends(spans, curve, area.width), area);
}

/// The newest intervals, one column each, the highest at full height.
fn curve(model: &Model, width: usize) -> String {
    let shown = model.history.len().saturating_sub(width);
    let newest = || model.history.iter().skip(shown);
    let highest = newest().copied().fold(0.0, f64::max);
    let level = |value: &f64| {
        let level = if highest > 0.0 {
            (value / highest * (LEVELS.len() - 1) as f64).round() as usize
        } else {
            0
        };
        LEVELS[level.min(LEVELS.len() - 1)]
    };
    newest().map(level).collect()
}

/// Percentiles of the last interval.
pub(super) fn latency(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let mut spans = vec![label("latency", palette)];
    match model.histogram("vyr_task_seconds").percentiles() {
        None => spans.push(Span::styled(
            if model.intervals().next().is_some() {
                "no task ended in the last interval"
            } else {
                "-"
            },
            palette.quiet(),
        )),
        Some(times) => {
            for (name, time_ns) in [
                ("p50", times.p50_ns),
                ("p90", times.p90_ns),
                ("p99", times.p99_ns),
                ("p99.9", times.p999_ns),
                ("max", times.max_ns),
            ] {
                spans.push(Span::styled(format!("{name} "), palette.quiet()));
                spans.push(Span::raw(format!("{:<7} ", time(time_ns))));
            }
        }
    }
    frame.render_widget(ends(spans, Vec::new(), area.width), area);
}

/// Instances and tasks that are there now.
pub(super) fn pool(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let gauge = |name| model.gauge(name).map_or_else(|| "-".into(), whole);
    let spans = vec![
        label("pool", palette),
        Span::raw(format!(
            "{} of {} instances live, {} idle    {} running  {} queued  {}/s cold",
            gauge("vyr_instances_live"),
            gauge("vyr_instances_live_max"),
            gauge("vyr_instances_idle"),
            gauge("vyr_tasks_running"),
            gauge("vyr_tasks_queued"),
            rate(model.rate("vyr_cold_starts", None)),
        )),
    ];
    frame.render_widget(ends(spans, Vec::new(), area.width), area);
}

/// States, and the memory of the shards.
pub(super) fn states(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let gauge = |name| model.gauge(name).map_or_else(|| "-".into(), whole);
    let size = |name| {
        let value = model.gauge(name);
        value.map_or_else(|| "-".into(), |value| bytes(value.max(0.0) as u64))
    };
    let mut spans = vec![
        label("states", palette),
        Span::raw(format!(
            "{} with {} keys, {}    memory {}",
            gauge("vyr_states"),
            gauge("vyr_state_keys"),
            size("vyr_state_bytes"),
            size("vyr_memory_resident_bytes"),
        )),
    ];
    if let Some(stall_s) = model.worst_gauge("vyr_executor_stall_seconds") {
        let stall = time((stall_s.max(0.0) * 1e9) as u64);
        spans.push(Span::raw(format!("    longest stall {stall}")));
    }
    frame.render_widget(ends(spans, Vec::new(), area.width), area);
}

fn label(name: &'static str, palette: Palette) -> Span<'static> {
    Span::styled(format!(" {name:<LABEL_COLUMNS$}"), palette.label())
}

fn whole(value: f64) -> String {
    count(value.max(0.0) as u64)
}

fn pad(mut cell: Vec<Span<'static>>, width: usize) -> Vec<Span<'static>> {
    let taken: usize = cell.iter().map(Span::width).sum();
    cell.push(Span::raw(" ".repeat(width.saturating_sub(taken))));
    cell
}

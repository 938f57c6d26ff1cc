//! What takes the list's place: the steps of a task, and the help.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{ends, row};
use crate::commands::figures::{printable, time};
use crate::commands::top::keys::KEYS;
use crate::commands::top::list::Row;
use crate::commands::top::model::Model;
use crate::commands::top::share::Part;
use crate::commands::top::style::Palette;
use crate::commands::traces::step::Step;
use crate::commands::traces::waterfall::Waterfall;

/// Columns of a step's name, with its indentation.
const NAME_COLUMNS: usize = 22;
/// Columns of its beginning and its length.
const TIME_COLUMNS: usize = 9;
/// Columns that are kept for an error where there is one.
const ERROR_COLUMNS: usize = 18;

/// A task's steps below each other.
pub(super) fn steps(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    task: &Row,
    palette: Palette,
) {
    if let Some(area) = row(area, 0) {
        let left = Span::raw(format!(" task {}", task.id()));
        let line = ends(vec![left], Vec::new(), area.width);
        frame.render_widget(line.style(palette.section()), area);
    }
    if let Some(area) = row(area, 1) {
        let artifact = task.artifact();
        let mut facts = format!(" {} of {artifact}", task.status());
        let name = model.artifact_name(&artifact);
        if name != artifact {
            facts.push_str(&format!(" ({})", printable(name)));
        }
        if let Row::Ended(task) = task {
            facts.push_str(if task.is_cold { ", cold" } else { ", warm" });
        }
        let mut spans = vec![Span::styled(facts, palette.status(task.status()))];
        if let Row::Ended(task) = task
            && let Some(error) = &task.error
        {
            spans.push(Span::styled(
                format!("  {}", printable(error)),
                palette.bad(),
            ));
        }
        frame.render_widget(ends(spans, Vec::new(), area.width), area);
    }
    let steps = model.steps(task);
    if steps.is_empty()
        && let Some(area) = row(area, 3)
    {
        let text = "   no step of it has finished since this began";
        frame.render_widget(Line::from(Span::styled(text, palette.quiet())), area);
    }
    let waterfall = Waterfall::of(steps);
    let any_error = steps.iter().any(|step| step.error.is_some());
    let taken = NAME_COLUMNS + 2 * TIME_COLUMNS + 4 + if any_error { ERROR_COLUMNS } else { 0 };
    let cells = usize::from(area.width).saturating_sub(taken);
    for (index, step) in waterfall.rows.iter().enumerate() {
        let Some(area) = row(area, index + 3) else {
            break;
        };
        let name = format!("{:indent$}{}", "", step.step.name, indent = 2 * step.depth);
        let name: String = name.chars().take(NAME_COLUMNS).collect();
        let bar = waterfall.bar(&step.step, cells);
        let part = part_of(&step.step);
        let rest = cells - bar.empty - bar.filled;
        let error = step.step.error.as_deref().unwrap_or_default();
        let offset = format!("+{}", time(waterfall.offset_ns(&step.step)));
        let spans = vec![
            Span::raw(format!(" {name:<NAME_COLUMNS$}")),
            Span::styled(format!("{offset:>TIME_COLUMNS$}"), palette.quiet()),
            Span::raw(format!("{:>TIME_COLUMNS$} ", time(step.step.duration_ns()))),
            Span::styled("·".repeat(bar.empty), palette.quiet()),
            Span::styled("█".repeat(bar.filled), palette.part(part)),
            Span::styled("·".repeat(rest), palette.quiet()),
            Span::styled(format!(" {error}"), palette.bad()),
        ];
        frame.render_widget(ends(spans, Vec::new(), area.width), area);
    }
}

/// The part of a task's time that a step is shown as.
fn part_of(step: &Step) -> Part {
    match step.own_name() {
        _ if step.is_outgoing => Part::Outgoing,
        Some("queue") => Part::Queue,
        Some("instantiate") => Part::Instantiate,
        Some("execute") => Part::Execute,
        _ => Part::Other,
    }
}

/// What the keys do.
pub(super) fn help(frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let title = ends(vec![Span::raw(" keys")], Vec::new(), area.width);
    let mut lines = vec![title.style(palette.section()), Line::default()];
    for (key, meaning) in KEYS {
        lines.push(Line::from(vec![
            Span::styled(format!(" {key:<15}"), palette.title()),
            Span::raw(*meaning),
        ]));
    }
    lines.push(Line::default());
    let about = " Latencies are those of the last interval, from a task's arrival to its end.";
    lines.push(Line::from(Span::styled(about, palette.quiet())));
    frame.render_widget(Paragraph::new(lines), area);
}

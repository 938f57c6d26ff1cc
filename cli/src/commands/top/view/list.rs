//! The list of tasks with their bars.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{ends, row};
use crate::commands::figures::{count, printable, time};
use crate::commands::top::list::{Row, Tab};
use crate::commands::top::model::Model;
use crate::commands::top::share::{Part, Shares};
use crate::commands::top::style::Palette;

/// Terminals at least this wide show whole ids.
const WIDE_COLUMNS: u16 = 100;
/// Characters of an id, and of its end alone.
const ID_COLUMNS: usize = 27;
const ID_END_COLUMNS: usize = 9;
const ARTIFACT_COLUMNS: usize = 16;

/// Draws the list's title, headings and rows; the mark is always in sight.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    palette: Palette,
    now_unix_ns: u64,
) {
    let rows = model.rows();
    if let Some(area) = row(area, 0) {
        frame.render_widget(title(model, rows.len(), area.width, palette), area);
    }
    let columns = Columns::of(area.width);
    if let Some(area) = row(area, 1) {
        let headings = columns.headings(model.choice.tab);
        frame.render_widget(Line::from(Span::styled(headings, palette.quiet())), area);
    }
    let places = usize::from(area.height).saturating_sub(2);
    let Some(mark) = model.choice.index(&rows) else {
        if let Some(area) = row(area, 3) {
            let text = Span::styled(nothing(model), palette.quiet());
            frame.render_widget(Line::from(text), area);
        }
        return;
    };
    let first = (mark + 1).saturating_sub(places);
    for (index, task) in rows.iter().enumerate().skip(first).take(places) {
        if let Some(area) = row(area, index - first + 2) {
            let mut line = columns.line(model, task, palette, now_unix_ns);
            if index == mark {
                line = line.style(palette.marked());
            }
            frame.render_widget(line, area);
        }
    }
}

fn title(model: &Model, tasks: usize, width: u16, palette: Palette) -> Line<'static> {
    let choice = &model.choice;
    let mut left = match choice.tab {
        Tab::Ended => format!(" ended tasks, {}", choice.sort.name()),
        Tab::Running => format!(" running tasks, {}", choice.sort.name()),
    };
    left.push_str(&format!(" ({tasks})"));
    if !choice.filter.is_empty() {
        left.push_str(&format!("  with '{}'", printable(&choice.filter)));
    }
    if model.lost_spans > 0 {
        left.push_str(&format!("  {} spans lost", count(model.lost_spans)));
    }
    ends(vec![Span::raw(left)], Vec::new(), width).style(palette.section())
}

/// What the bars' cells mean, in so many columns.
fn legend(columns: usize) -> String {
    let parts = [
        Part::Queue,
        Part::Instantiate,
        Part::Execute,
        Part::Outgoing,
    ];
    let named = |name: fn(Part) -> &'static str| {
        parts
            .map(|part| format!("{}{}", part.glyph(), name(part)))
            .join(" ")
    };
    let whole = named(Part::name);
    if whole.chars().count() <= columns {
        whole
    } else {
        named(Part::short_name)
    }
}

fn nothing(model: &Model) -> &'static str {
    match model.choice.tab {
        _ if !model.choice.filter.is_empty() => "   no task has this text; Esc clears the filter",
        Tab::Ended => "   no task has ended since this began",
        Tab::Running => "   no task runs",
    }
}

/// How wide the columns are.
struct Columns {
    id: usize,
    bar: usize,
}

impl Columns {
    fn of(width: u16) -> Self {
        let id = if width >= WIDE_COLUMNS {
            ID_COLUMNS
        } else {
            ID_END_COLUMNS
        };
        let taken = 1 + id + 1 + ARTIFACT_COLUMNS + 1 + 9 + 1 + 7 + 1 + 5 + 1;
        Self {
            id,
            bar: usize::from(width).saturating_sub(taken + 1),
        }
    }

    fn headings(&self, tab: Tab) -> String {
        let (ago, bar) = match tab {
            Tab::Ended => ("AGO", legend(self.bar)),
            Tab::Running => ("SHARD", String::new()),
        };
        format!(
            " {:<id$} {:<ARTIFACT_COLUMNS$} {:<9} {:>7} {ago:>5} {bar}",
            "TASK",
            "ARTIFACT",
            "STATUS",
            "TIME",
            id = self.id
        )
    }

    fn line(&self, model: &Model, task: &Row, palette: Palette, now_unix_ns: u64) -> Line<'static> {
        let id = task.id().to_string();
        let id = match id.len().checked_sub(self.id - 1) {
            Some(start) if self.id < ID_COLUMNS => format!("…{}", &id[start..]),
            _ => id,
        };
        let artifact = task.artifact();
        let name: String = model
            .artifact_name(&artifact)
            .chars()
            .take(ARTIFACT_COLUMNS)
            .collect();
        let status = task.status();
        let duration = time(task.duration_ns(now_unix_ns));
        let (ago, bar) = match task {
            Row::Ended(ended) => (
                ago(now_unix_ns.saturating_sub(ended.end_unix_ns)),
                Shares::of(&ended.steps, ended.duration_ns).cells(self.bar),
            ),
            Row::Running(running) => (running.shard.to_string(), Shares::default().cells(0)),
        };
        let mut spans = vec![
            Span::raw(format!(" {id:<width$} ", width = self.id)),
            Span::raw(format!("{:<ARTIFACT_COLUMNS$} ", printable(&name))),
            Span::styled(format!("{status:<9} "), palette.status(status)),
            Span::raw(format!("{duration:>7} {ago:>5} ")),
        ];
        for (part, cells) in bar {
            let cells = part.glyph().to_string().repeat(cells);
            spans.push(Span::styled(cells, palette.part(part)));
        }
        Line::from(spans)
    }
}

/// How long ago something was, in whole units.
fn ago(time_ns: u64) -> String {
    let seconds = time_ns / 1_000_000_000;
    match seconds {
        0..600 => format!("{seconds}s"),
        _ => time(time_ns),
    }
}

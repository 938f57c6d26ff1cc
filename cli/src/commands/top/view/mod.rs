//! The picture: a pure function of the model, the moment, and the size of the terminal. It fits 80 by
//! 24; where there is less room, what does not fit is left out from below.

mod detail;
mod figures;
mod header;
mod list;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::model::{Mode, Model};
use super::style::Palette;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette, now_unix_ns: u64) {
    let area = frame.area();
    let busy_rows = figures::busy_rows(model, area);
    let [header, busy, rates, latency, pool, states, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(busy_rows),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(frame, header, model, palette);
    figures::busy(frame, busy, model, palette);
    figures::rates(frame, rates, model, palette);
    figures::latency(frame, latency, model, palette);
    figures::pool(frame, pool, model, palette);
    figures::states(frame, states, model, palette);
    match &model.mode {
        Mode::Steps(row) => detail::steps(frame, body, model, row, palette),
        Mode::Help => detail::help(frame, body, palette),
        Mode::Browse | Mode::Filter | Mode::Confirm(_) => {
            list::draw(frame, body, model, palette, now_unix_ns);
        }
    }
    header::footer(frame, footer, model, palette);
}

/// A line with a part at each end; where both do not fit, the right one stays.
fn ends(left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: u16) -> Line<'static> {
    let width = usize::from(width);
    let right_width: usize = right.iter().map(Span::width).sum();
    let mut left = clipped(left, width.saturating_sub(right_width + 1));
    let left_width: usize = left.iter().map(Span::width).sum();
    let gap = width.saturating_sub(left_width + right_width);
    left.push(Span::raw(" ".repeat(gap)));
    left.extend(right);
    Line::from(left)
}

/// As much of these as fits into so many columns.
fn clipped(spans: Vec<Span<'static>>, mut width: usize) -> Vec<Span<'static>> {
    let clip = |span: Span<'static>| {
        let mut text = String::new();
        for character in span.content.chars() {
            let columns = Span::raw(character.to_string()).width();
            if columns > width {
                width = 0;
                break;
            }
            width -= columns;
            text.push(character);
        }
        Span::styled(text, span.style)
    };
    spans.into_iter().map(clip).collect()
}

/// The given row of an area; `None` below its end.
fn row(area: Rect, index: usize) -> Option<Rect> {
    let index = u16::try_from(index).ok()?;
    (index < area.height).then(|| Rect {
        y: area.y + index,
        height: 1,
        ..area
    })
}

#[cfg(test)]
mod tests;

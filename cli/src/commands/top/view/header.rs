//! The first line, which node this is and whether it is heard, and the last one, what keys do now.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::ends;
use crate::commands::figures::{printable, time};
use crate::commands::top::list::Tab;
use crate::commands::top::model::{Mode, Model};
use crate::commands::top::style::Palette;

/// The first line.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let mut left = vec![
        Span::styled(" vyr top", palette.title()),
        Span::raw(format!("  {}", printable(&model.url))),
    ];
    if let Some(node) = &model.node {
        let uptime_ms = node.shards.iter().map(|shard| shard.uptime_ms).max();
        let draining = node.shards.iter().any(|shard| shard.draining);
        left.push(Span::raw(format!(
            "  {}  {} of {} shards  up {}{}",
            printable(&node.version),
            node.shards.len(),
            node.shards_configured,
            time(uptime_ms.unwrap_or(0).saturating_mul(1_000_000)),
            if draining { "  stopping" } else { "" },
        )));
    }
    let mut right = Vec::new();
    if model.is_paused {
        right.push(Span::styled("paused  ", palette.bad()));
    }
    right.push(match model.trouble() {
        None => Span::styled("connected ", palette.good()),
        Some("connecting") => Span::raw("connecting "),
        Some(_) => Span::styled("reconnecting ", palette.bad()),
    });
    frame.render_widget(ends(left, right, area.width), area);
}

/// The last line.
pub(super) fn footer(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let keys = |text: &str| Span::styled(format!(" {text}"), palette.quiet());
    let line = match (&model.mode, &model.message, model.trouble()) {
        (Mode::Confirm(task), ..) => Span::styled(
            format!(" cancel task {task}? y cancels it, any other key does not"),
            palette.bad(),
        ),
        (Mode::Filter, ..) => Span::raw(format!(
            " /{}\u{2581}  Enter keeps the filter, Esc clears it",
            printable(&model.choice.filter)
        )),
        (_, Some(message), _) => Span::styled(format!(" {}", printable(message)), palette.title()),
        (_, None, Some(trouble)) if trouble != "connecting" => {
            Span::styled(format!(" {}", printable(trouble)), palette.bad())
        }
        (Mode::Steps(_) | Mode::Help, ..) => keys("Esc back  q quit"),
        (Mode::Browse, ..) => keys(match model.choice.tab {
            Tab::Ended => "q quit  p pause  s sort  / filter  Enter steps  tab running  ? help",
            Tab::Running => {
                "q quit  p pause  s sort  / filter  Enter steps  c cancel  tab ended  ? help"
            }
        }),
    };
    frame.render_widget(ends(vec![line], Vec::new(), area.width), area);
}

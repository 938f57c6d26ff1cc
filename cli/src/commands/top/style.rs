//! Colours: the sixteen that every terminal has, and none where they are not wanted.

use ratatui::style::{Color, Modifier, Style};

use super::share::Part;

/// The styles of the picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// Colours, unless `NO_COLOR` is set or the terminal has none.
    pub(crate) fn of_environment() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let has_none =
            std::env::var_os("TERM").is_some_and(|term| term == "dumb" || term == "vt100");
        Self {
            coloured: !no_color && !has_none,
        }
    }

    /// With colours, or without.
    #[cfg(test)]
    pub(crate) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    pub(crate) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn label(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(crate) fn quiet(self) -> Style {
        self.colour(Color::DarkGray)
    }

    pub(crate) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(crate) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A bar or the line of a section.
    pub(crate) fn section(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The row with the mark.
    pub(crate) fn marked(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// How busy a core is.
    pub(crate) fn load(self, share: f64) -> Style {
        self.colour(match share {
            ..0.7 => Color::Green,
            ..0.9 => Color::Yellow,
            _ => Color::Red,
        })
    }

    /// A task's status.
    pub(crate) fn status(self, status: &str) -> Style {
        match status {
            "succeeded" => self.good(),
            "failed" => self.bad(),
            "timed_out" => self.colour(Color::Yellow),
            "cancelled" => self.quiet(),
            _ => Style::new(),
        }
    }

    /// A part of a task's time.
    pub(crate) fn part(self, part: Part) -> Style {
        self.colour(match part {
            Part::Queue => Color::Yellow,
            Part::Instantiate => Color::Blue,
            Part::Execute => Color::Green,
            Part::Outgoing => Color::Magenta,
            Part::Other => Color::DarkGray,
        })
    }

    fn colour(self, colour: Color) -> Style {
        if self.coloured {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}

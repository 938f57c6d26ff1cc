//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vyr_core::id::TaskId;

use super::list::{Row, Tab};
use super::model::{Mode, Model};

/// The most characters of a filter.
const FILTER_CHARACTERS_MAX: usize = 64;
/// Rows that a page key moves by.
const PAGE_ROWS: isize = 10;

/// What a key wants from outside the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Quit,
    Cancel(TaskId),
}

/// The keys and what they do, for the help.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("q, Ctrl-C", "quit"),
    ("p, space", "pause the picture, go on"),
    ("up, down, j, k", "choose a task; also PgUp, PgDn, Home"),
    ("Enter", "show the steps of the task; Esc closes them"),
    ("tab", "tasks that ended, tasks that run"),
    ("s", "order: slowest, newest, by artifact"),
    (
        "/",
        "only tasks with this text in id, artifact, status or error",
    ),
    ("c", "cancel the running task, after a question"),
    ("?", "this help"),
];

/// Does what a key means now.
pub(crate) fn press(model: &mut Model, key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(Wish::Quit);
    }
    model.message = None;
    match model.mode.clone() {
        Mode::Filter => {
            edit_filter(model, key.code);
            None
        }
        Mode::Confirm(task) => {
            model.mode = Mode::Browse;
            (key.code == KeyCode::Char('y')).then_some(Wish::Cancel(task))
        }
        Mode::Steps(_) | Mode::Help => match key.code {
            KeyCode::Char('q') => Some(Wish::Quit),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('?') => {
                model.mode = Mode::Browse;
                None
            }
            _ => None,
        },
        Mode::Browse => browse(model, key.code),
    }
}

fn browse(model: &mut Model, code: KeyCode) -> Option<Wish> {
    match code {
        KeyCode::Char('q') => return Some(Wish::Quit),
        KeyCode::Char('p' | ' ') => model.is_paused = !model.is_paused,
        KeyCode::Char('s') => model.choice.cycle_sort(),
        KeyCode::Char('/') => model.mode = Mode::Filter,
        KeyCode::Char('?') => model.mode = Mode::Help,
        KeyCode::Tab | KeyCode::BackTab => model.choice.switch_tab(),
        KeyCode::Up | KeyCode::Char('k') => move_mark(model, -1),
        KeyCode::Down | KeyCode::Char('j') => move_mark(model, 1),
        KeyCode::PageUp => move_mark(model, -PAGE_ROWS),
        KeyCode::PageDown => move_mark(model, PAGE_ROWS),
        KeyCode::Home => move_mark(model, isize::MIN),
        KeyCode::End => move_mark(model, isize::MAX),
        KeyCode::Esc => model.choice.filter.clear(),
        KeyCode::Enter => {
            if let Some(row) = model.chosen() {
                model.mode = Mode::Steps(Box::new(row));
            }
        }
        KeyCode::Char('c') => match model.chosen() {
            Some(Row::Running(task)) => model.mode = Mode::Confirm(task.id),
            _ if model.choice.tab == Tab::Running => {}
            _ => model.message = Some("these tasks have ended; tab shows those that run".into()),
        },
        _ => {}
    }
    None
}

fn move_mark(model: &mut Model, by: isize) {
    let rows = model.rows();
    model.choice.move_mark(&rows, by);
}

fn edit_filter(model: &mut Model, code: KeyCode) {
    let filter = &mut model.choice.filter;
    match code {
        KeyCode::Enter => model.mode = Mode::Browse,
        KeyCode::Esc => {
            filter.clear();
            model.mode = Mode::Browse;
        }
        KeyCode::Backspace => {
            filter.pop();
        }
        KeyCode::Char(character) if filter.chars().count() < FILTER_CHARACTERS_MAX => {
            filter.push(character);
        }
        _ => {}
    }
}

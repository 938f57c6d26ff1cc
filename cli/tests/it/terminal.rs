//! A program in a terminal of 80 by 24, and what the terminal shows.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::support::*;

const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// A program in its terminal.
pub(crate) struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    output: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    /// Runs a command, of which `script` makes the terminal.
    pub(crate) fn start(command: &Command) -> Self {
        let quoted = |text: &std::ffi::OsStr| {
            format!("'{}'", text.to_str().expect("UTF-8").replace('\'', r"'\''"))
        };
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(quoted).collect();
        let line = format!("stty cols {COLUMNS} rows {ROWS}; exec {}", words.join(" "));
        let mut script = Command::new("script");
        script
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                &line,
                "/dev/null",
            ])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut process = script.spawn().expect("script starts");
        let mut stdout = process.stdout.take().expect("piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = stdout.read(&mut buffer)
                && count > 0
                && sender.send(buffer[..count].to_vec()).is_ok()
            {}
        });
        Self {
            keyboard: process.stdin.take().expect("piped"),
            process,
            output,
            screen: Screen::new(),
        }
    }

    /// Types keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is there");
        self.keyboard.flush().expect("the terminal is there");
    }

    /// Waits until the screen is as wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !wanted(&self.screen.text()) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.output.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(bytes) => self.screen.take(&bytes),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended before {what}; it shows\n{}", self.screen.text())
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "waited in vain until {what}; it shows\n{}",
                        self.screen.text()
                    )
                }
            }
        }
    }

    /// Waits for the program's end; gives its status, and whether it left the terminal as it was.
    pub(crate) fn end(mut self) -> (ExitStatus, bool) {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.screen.take(&bytes);
        }
        let status = self.process.wait().expect("a child");
        (status, self.screen.is_plain())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Of a test that failed; one that ended has no child any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As much of a terminal as pictures need: the cursor's place, clearing, the alternate screen.
struct Screen {
    cells: Vec<char>,
    row: usize,
    column: usize,
    is_alternate: bool,
    is_cursor_hidden: bool,
    /// Bytes that are not a whole character or sequence yet.
    rest: Vec<u8>,
}

impl Screen {
    fn new() -> Self {
        Self {
            cells: vec![' '; COLUMNS * ROWS],
            row: 0,
            column: 0,
            is_alternate: false,
            is_cursor_hidden: false,
            rest: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let rows = self.cells.chunks(COLUMNS);
        let rows = rows.map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n")
    }

    fn is_plain(&self) -> bool {
        !self.is_alternate && !self.is_cursor_hidden
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let valid = match std::str::from_utf8(&rest) {
            Ok(text) => text,
            Err(error) => {
                std::str::from_utf8(&rest[..error.valid_up_to()]).expect("valid up to there")
            }
        };
        let mut text = valid;
        while let Some(character) = text.chars().next() {
            let after = if let Some(sequence) = text.strip_prefix("\x1b[") {
                let Some(end) = sequence.find(|c: char| ('@'..='~').contains(&c)) else {
                    break;
                };
                self.control(&sequence[..end], sequence.as_bytes()[end]);
                &sequence[end + 1..]
            } else if character == '\x1b' && text.len() < 2 {
                break;
            } else {
                self.put(character);
                &text[character.len_utf8()..]
            };
            text = after;
        }
        let taken = valid.len() - text.len();
        self.rest = rest[taken..].to_vec();
    }

    fn put(&mut self, character: char) {
        match character {
            '\r' => self.column = 0,
            '\n' => self.row = (self.row + 1).min(ROWS - 1),
            character if !character.is_control() && self.column < COLUMNS => {
                self.cells[self.row * COLUMNS + self.column] = character;
                self.column += 1;
            }
            _ => {}
        }
    }

    fn control(&mut self, parameters: &str, end: u8) {
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(1);
        match (end, parameters) {
            (b'H', _) => {
                let mut parts = parameters.split(';');
                let (row, column): (usize, usize) = (number(parts.next()), number(parts.next()));
                self.row = row.clamp(1, ROWS) - 1;
                self.column = column.clamp(1, COLUMNS) - 1;
            }
            (b'J', _) => self.cells.fill(' '),
            (b'h' | b'l', "?1049") => {
                self.is_alternate = end == b'h';
                self.cells.fill(' ');
            }
            (b'h' | b'l', "?25") => self.is_cursor_hidden = end == b'l',
            _ => {}
        }
    }
}

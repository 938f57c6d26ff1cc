//! Standard input, cut into lines.
//!
//! Invariant: what is held is at most one chunk and one line of the longest length; of a longer line
//! nothing is kept but that it was there.

use memchr::memchr;

use crate::limits::LINE_BYTES_MAX;

/// One line, without its line feed and a carriage return before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

/// Lines to be taken one by one, as the chunks come.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    at: usize,
    /// Whether the line that is being read is already longer than the bound.
    too_long: bool,
    ended: bool,
    taken: u64,
}

impl Lines {
    /// Adds the next chunk, which may be cut anywhere.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// Says that no chunk follows: a last line without a line feed is a line.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether all lines have been taken and none will follow.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.ended && self.at == self.buffer.len() && !self.too_long
    }

    /// Whether the next line is not here yet and may still come.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && memchr(b'\n', &self.buffer[self.at..]).is_none()
    }

    /// The number of the line that was taken last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.taken
    }

    /// Takes the next line if all of it is here.
    pub(crate) fn take(&mut self) -> Option<Line<'_>> {
        let start = self.at;
        let length = match memchr(b'\n', &self.buffer[start..]) {
            Some(length) => {
                self.at = start + length + 1;
                length
            }
            None if self.ended => {
                let length = self.buffer.len() - start;
                if length == 0 && !self.too_long {
                    return None;
                }
                self.at = self.buffer.len();
                length
            }
            None => {
                // One byte more than the bound may be a carriage return that is not counted.
                if self.buffer.len() - start > LINE_BYTES_MAX + 1 {
                    self.too_long = true;
                    self.at = self.buffer.len();
                }
                if self.too_long {
                    self.at = self.buffer.len();
                }
                return None;
            }
        };
        self.taken += 1;
        let line = &self.buffer[start..start + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if std::mem::take(&mut self.too_long) || line.len() > LINE_BYTES_MAX {
            return Some(Line::TooLong);
        }
        Some(Line::Whole(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines' lengths, `None` for one that is too long, of an input that comes in such chunks.
    fn lengths(input: &[u8], chunk_bytes: usize) -> Vec<Option<usize>> {
        let mut lines = Lines::default();
        let mut lengths = Vec::new();
        let mut take_all = |lines: &mut Lines| {
            while let Some(line) = lines.take() {
                lengths.push(match line {
                    Line::Whole(line) => Some(line.len()),
                    Line::TooLong => None,
                });
            }
        };
        for chunk in input.chunks(chunk_bytes) {
            lines.push(chunk);
            take_all(&mut lines);
            assert!(lines.wants_input());
            assert!(lines.buffer.len() - lines.at <= LINE_BYTES_MAX + 1);
        }
        lines.end();
        take_all(&mut lines);
        assert!(lines.is_exhausted() && !lines.wants_input());
        assert_eq!(lines.number(), lengths.len() as u64);
        lengths
    }

    #[test]
    fn lines_do_not_depend_on_how_the_input_is_cut() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let input = format!("a\n\nbc\r\n{long}\n{long}\r\n{long}y\n{long}{long}\nlast");
        let expected = vec![
            Some(1),
            Some(0),
            Some(2),
            Some(LINE_BYTES_MAX),
            Some(LINE_BYTES_MAX),
            None,
            None,
            Some(4),
        ];
        for chunk_bytes in [1, 7, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 2, 1 << 20] {
            assert_eq!(lengths(input.as_bytes(), chunk_bytes), expected, "{chunk_bytes}");
        }
    }

    #[test]
    fn a_long_last_line_without_an_end_is_a_line() {
        let input = "x".repeat(3 * LINE_BYTES_MAX);
        assert_eq!(lengths(input.as_bytes(), 1000), [None]);
        assert_eq!(lengths(b"", 1), []);
        assert_eq!(lengths(b"a\n", 1), [Some(1)]);
    }
}

//! A stream of lines, transformed as it comes.

use memchr::memchr;

use crate::distance::Routes;
use crate::event;
use crate::limits::{DEAD_LETTER_INPUT_BYTES_MAX, LINE_BYTES_MAX, OUTPUT_CHUNK_BYTES};
use crate::reject::{Reason, Rejection};
use crate::render::{self, Position};

/// How many events were seen and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines, or elements of a batch.
    pub received: u64,
    /// Sound ones.
    pub transformed: u64,
    /// Malformed ones.
    pub dead_letters: u64,
}

impl std::fmt::Display for Counts {
    /// The summary of a run, on one line.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "event-transform: received {}, transformed {}, dead letters {}",
            self.received, self.transformed, self.dead_letters
        )
    }
}

/// Turns a stream of events into a stream of CloudEvents, one a line.
///
/// Chunks may be cut anywhere. At most one incomplete line and one chunk of output are held.
pub struct Transformer {
    counts: Counts,
    routes: Routes,
    /// The beginning of a line whose end has not come yet. Beyond the bound nothing is added.
    incomplete: Vec<u8>,
    /// The true length of that line so far.
    incomplete_bytes: u64,
    out: Vec<u8>,
}

impl Default for Transformer {
    fn default() -> Self {
        Self::new()
    }
}

impl Transformer {
    /// A transformer at the beginning of a stream.
    pub fn new() -> Self {
        Self {
            counts: Counts::default(),
            routes: Routes::new(),
            incomplete: Vec::new(),
            incomplete_bytes: 0,
            out: Vec::new(),
        }
    }

    /// What has been seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes the next chunk and hands on output whenever enough of it has gathered.
    ///
    /// # Errors
    /// Those of `write`; the stream is then of no further use.
    pub fn push<E>(
        &mut self,
        chunk: &[u8],
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.incomplete_bytes == 0 {
                self.line(line);
            } else {
                self.extend_incomplete(line);
                self.end_incomplete();
            }
            if self.out.len() >= OUTPUT_CHUNK_BYTES {
                self.hand_on(&mut write)?;
            }
        }
        self.extend_incomplete(rest);
        self.hand_on(&mut write)
    }

    /// Takes the end of the stream: a last line without a line feed is a line.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn finish<E>(&mut self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.incomplete_bytes > 0 {
            self.end_incomplete();
        }
        self.hand_on(&mut write)
    }

    /// Appends the CloudEvent, or the dead letter, of one event to `out`, without a line feed. Says
    /// whether the event was sound.
    pub(crate) fn one(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        self.counts.received += 1;
        match event::read(json) {
            Ok(event) => {
                render::event(&event, &mut self.routes, out);
                self.counts.transformed += 1;
                Ok(())
            }
            Err(rejection) => {
                self.reject(&rejection, json, json.len() as u64, out);
                Err(rejection)
            }
        }
    }

    /// Counts an element that never was an event and appends its dead letter.
    pub(crate) fn refuse(&mut self, reason: Reason, json: &[u8], out: &mut Vec<u8>) {
        self.counts.received += 1;
        self.reject(&reason.into(), json, json.len() as u64, out);
    }

    fn line(&mut self, line: &[u8]) {
        let mut out = std::mem::take(&mut self.out);
        if line.len() > LINE_BYTES_MAX {
            self.refuse(Reason::LineTooLong, line, &mut out);
        } else if !is_utf8(line) {
            self.refuse(Reason::Utf8Invalid, line, &mut out);
        } else {
            // A dead letter is as good an answer as an event: the stream goes on.
            let _ = self.one(line, &mut out);
        }
        out.push(b'\n');
        self.out = out;
    }

    /// Adds to the incomplete line as much as is needed of it, and counts the rest.
    fn extend_incomplete(&mut self, part: &[u8]) {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.incomplete.len());
        self.incomplete
            .extend_from_slice(&part[..part.len().min(room)]);
        self.incomplete_bytes += part.len() as u64;
    }

    fn end_incomplete(&mut self) {
        let mut line = std::mem::take(&mut self.incomplete);
        if self.incomplete_bytes > LINE_BYTES_MAX as u64 {
            line.truncate(DEAD_LETTER_INPUT_BYTES_MAX);
            let mut out = std::mem::take(&mut self.out);
            self.counts.received += 1;
            self.reject(
                &Reason::LineTooLong.into(),
                &line,
                self.incomplete_bytes,
                &mut out,
            );
            out.push(b'\n');
            self.out = out;
        } else {
            self.line(&line);
        }
        line.clear();
        self.incomplete = line;
        self.incomplete_bytes = 0;
    }

    fn reject(&mut self, rejection: &Rejection, input: &[u8], input_bytes: u64, out: &mut Vec<u8>) {
        self.counts.dead_letters += 1;
        let position = Position {
            line: self.counts.received,
            input,
            input_bytes,
        };
        render::dead_letter(rejection, &position, out);
    }

    fn hand_on<E>(&mut self, write: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = write(&self.out);
        self.out.clear();
        written
    }
}

/// Whether the bytes are UTF-8; quick for ASCII, which nearly every line is.
fn is_utf8(bytes: &[u8]) -> bool {
    let all = bytes.iter().fold(0, |all, &byte| all | byte);
    all < 0x80 || std::str::from_utf8(bytes).is_ok()
}

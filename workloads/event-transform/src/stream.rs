//! A stream of lines, transformed as it comes.

use memchr::memchr;

use crate::limits::{DEAD_LETTER_INPUT_BYTES_MAX, LINE_BYTES_MAX};
use crate::line::Output;
use crate::reject::Reason;
use crate::transform::{Counts, Transform};

/// Turns a stream of events into a stream of CloudEvents, one a line.
///
/// Chunks may be cut anywhere. At most one incomplete line and one chunk of output are held.
pub struct Transformer {
    transform: Transform,
    /// The beginning of a line whose end has not come yet. Beyond the bound nothing is added.
    incomplete: Vec<u8>,
    /// The true length of that line so far.
    incomplete_bytes: u64,
    out: Output,
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
            transform: Transform::new(),
            incomplete: Vec::new(),
            incomplete_bytes: 0,
            out: Output::for_a_stream(),
        }
    }

    /// What has been seen so far.
    pub fn counts(&self) -> Counts {
        self.transform.counts()
    }

    /// Takes the next chunk and hands on all output that it completes, in pieces of a bounded size.
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
            if !self.out.has_room() {
                self.hand_on(&mut write)?;
            }
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.incomplete_bytes == 0 {
                self.line(line);
            } else {
                self.extend_incomplete(line);
                self.end_incomplete();
            }
        }
        self.extend_incomplete(rest);
        // Output is not kept back for want of more: whoever reads it may be waiting.
        self.hand_on(&mut write)
    }

    /// Takes the end of the stream: a last line without a line feed is a line.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn finish<E>(&mut self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.incomplete_bytes > 0 {
            // There is room, since every push hands on what there was.
            self.end_incomplete();
        }
        self.hand_on(&mut write)
    }

    #[inline]
    fn line(&mut self, line: &[u8]) {
        let Self { transform, out, .. } = self;
        if line.len() > LINE_BYTES_MAX {
            transform.refuse(Reason::LineTooLong, line, line.len() as u64, out);
        } else {
            // A dead letter is as good an answer as an event: the stream goes on.
            let _ = transform.one(line, out);
        }
        out.put_byte(b'\n');
    }

    /// Adds to the incomplete line as much as is needed of it, and counts the rest.
    fn extend_incomplete(&mut self, part: &[u8]) {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.incomplete.len());
        self.incomplete.extend_from_slice(&part[..part.len().min(room)]);
        self.incomplete_bytes += part.len() as u64;
    }

    fn end_incomplete(&mut self) {
        let mut line = std::mem::take(&mut self.incomplete);
        if self.incomplete_bytes > LINE_BYTES_MAX as u64 {
            line.truncate(DEAD_LETTER_INPUT_BYTES_MAX);
            let bytes = self.incomplete_bytes;
            self.transform.refuse(Reason::LineTooLong, &line, bytes, &mut self.out);
            self.out.put_byte(b'\n');
        } else {
            self.line(&line);
        }
        line.clear();
        self.incomplete = line;
        self.incomplete_bytes = 0;
    }

    fn hand_on<E>(&mut self, write: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.out.as_bytes().is_empty() {
            return Ok(());
        }
        let written = write(self.out.as_bytes());
        self.out.clear();
        written
    }
}

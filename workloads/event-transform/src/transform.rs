//! One event at a time: read, check, render, count.

use crate::distance::Routes;
use crate::event;
use crate::line::Output;
use crate::reject::{Reason, Rejection};
use crate::render::{self, Position};
use crate::time::Stamps;

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

/// What is remembered from event to event. Nothing of it changes what comes out but the counts,
/// which number the dead letters.
pub(crate) struct Transform {
    counts: Counts,
    routes: Routes,
    stamps: Stamps,
}

impl Transform {
    pub(crate) fn new() -> Self {
        Self { counts: Counts::default(), routes: Routes::new(), stamps: Stamps::new() }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Puts the CloudEvent of an event, or its dead letter, without a line feed.
    ///
    /// # Errors
    /// Why the event is malformed; the dead letter has then been put.
    #[inline]
    pub(crate) fn one(&mut self, json: &[u8], out: &mut Output) -> Result<(), Rejection> {
        match event::read(json, &mut self.stamps) {
            Ok(event) => {
                self.counts.received += 1;
                self.counts.transformed += 1;
                render::event(&event, &mut self.routes, &mut self.stamps, out);
                Ok(())
            }
            Err(rejection) => {
                self.reject(&rejection, json, json.len() as u64, out);
                Err(rejection)
            }
        }
    }

    /// Puts the dead letter of what never was an event; `input` may be only its beginning.
    pub(crate) fn refuse(
        &mut self,
        reason: Reason,
        input: &[u8],
        input_bytes: u64,
        out: &mut Output,
    ) {
        self.reject(&reason.into(), input, input_bytes, out);
    }

    #[cold]
    fn reject(&mut self, rejection: &Rejection, input: &[u8], input_bytes: u64, out: &mut Output) {
        self.counts.received += 1;
        self.counts.dead_letters += 1;
        let position = Position { line: self.counts.received, input, input_bytes };
        render::dead_letter(rejection, &position, out);
    }
}

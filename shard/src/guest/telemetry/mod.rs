//! What guests tell of their own: `wasi:logging` 0.1.0-draft and `wasi:otel` 0.2.0-rc.2.
//!
//! Spans are shown to watchers and go to the collector, in the task's trace; logs are kept with the task, and
//! go to the collector if the node is told so.
//!
//! Invariants
//! - A guest's spans and logs are in its task's trace, whatever it says.
//! - A task makes a bounded number of events of bounded size ([`vyr_core::limits`]); what exceeds either is
//!   counted. Nothing here waits.
//! - No span of a guest can be taken for one of VYR's: not by its id, its attributes or its time.

mod bindings;
mod export;
mod logging;
mod otel;
mod room;
mod text;

use std::rc::Rc;

use send_wrapper::SendWrapper;
use vyr_core::limits::GUEST_SPANS_OPEN_MAX;
use vyr_core::trace::SpanId;
use wasmtime::component::{HasData, Linker};

pub(super) use export::Export;

use super::{Guest, Log};
use crate::steps::{Steps, Subject};

/// What a guest tells with.
pub(super) struct Telemetry {
    steps: SendWrapper<Rc<Steps>>,
    subject: Subject,
    log: Log,
    /// The guest's own spans that have begun and not ended, outermost first.
    open: Vec<SpanId>,
    /// Spans of the task that watchers were shown.
    shown: u32,
}

struct HasTelemetry;

impl HasData for HasTelemetry {
    type Data<'a> = &'a mut Telemetry;
}

impl Telemetry {
    pub(super) fn new(steps: Rc<Steps>, subject: Subject, log: Log) -> Self {
        Self {
            steps: SendWrapper::new(steps),
            subject,
            log,
            open: Vec::new(),
            shown: 0,
        }
    }

    /// Connects the guest with its next task.
    pub(super) fn attach(&mut self, subject: Subject) {
        self.subject = subject;
        self.open.clear();
        self.shown = 0;
    }

    /// The innermost span that is open: one of the guest's, or the task's.
    pub(super) fn current(&self) -> SpanId {
        let innermost = self.open.last().copied();
        innermost.unwrap_or(self.subject.trace.span_id)
    }

    fn begin(&mut self, span: SpanId) {
        if self.open.len() < GUEST_SPANS_OPEN_MAX {
            self.open.push(span);
        }
    }

    fn end(&mut self, span: SpanId) {
        if let Some(place) = self.open.iter().rposition(|open| *open == span) {
            self.open.remove(place);
        }
    }
}

/// Adds both interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    logging::add_to_linker(linker)?;
    otel::add_to_linker(linker)
}

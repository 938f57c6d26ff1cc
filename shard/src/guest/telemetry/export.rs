//! A task's own spans and logs on their way to the collector.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue as Pair};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use vyr_core::limits::{GUEST_EVENTS_PER_TASK_MAX, GUEST_LINE_BYTES_MAX};
use vyr_core::trace::SpanId;

use super::room::{pair, text_value};
use crate::clock;
use crate::steps::{Steps, Subject};
use crate::telemetry::{EventKind, EventSender, GuestEvent};

/// The way of one task's events.
pub(in crate::guest) struct Export {
    sender: Arc<EventSender>,
    subject: Subject,
    /// Whether logs go to the collector as well.
    logs: bool,
    /// Events that the task has made.
    made: u32,
    /// What was written of a line that has not ended yet.
    line: Vec<u8>,
}

impl Export {
    /// `None` without a collector.
    pub(in crate::guest) fn of(steps: &Steps, subject: Subject) -> Option<Self> {
        let (sender, logs) = steps.events()?;
        Some(Self {
            sender: Arc::clone(sender),
            subject,
            logs,
            made: 0,
            line: Vec::new(),
        })
    }

    /// The events are those of the next task from now on.
    pub(in crate::guest) fn attach(&mut self, subject: Subject) {
        self.end_line();
        self.subject = subject;
        self.made = 0;
    }

    /// Takes what the guest wrote to a standard stream; each line is a log record.
    pub(in crate::guest) fn written(&mut self, bytes: &[u8]) {
        if !self.logs {
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = GUEST_LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                self.end_line();
            }
        }
    }

    /// Sends the last line if it has no end.
    pub(in crate::guest) fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        let span = self.subject.trace.span_id;
        self.log("stdio", span, || {
            let now_ns = clock::unix_ns();
            let record = LogRecord {
                time_unix_nano: now_ns,
                observed_time_unix_nano: now_ns,
                body: Some(text_value(String::from_utf8_lossy(&line).into_owned())),
                ..LogRecord::default()
            };
            (InstrumentationScope::default(), record)
        });
        self.line = line;
        self.line.clear();
    }

    /// Sends the log record that `make` makes, unless logs stay here. `source` says how the guest logged it.
    pub(super) fn log(
        &mut self,
        source: &str,
        span: SpanId,
        make: impl FnOnce() -> (InstrumentationScope, LogRecord),
    ) {
        if !self.logs || !self.admits(EventKind::Log) {
            return;
        }
        let (scope, mut record) = make();
        let source = pair("vyr.log.source".into(), text_value(source.into()));
        record.attributes.push(source);
        self.add_subject(&mut record.attributes);
        record.trace_id = self.subject.trace.trace_id.to_bits().to_be_bytes().into();
        record.span_id = span.to_bits().to_be_bytes().into();
        record.flags = self.subject.trace.sampled.into();
        self.send(EventKind::Log, &scope, record.encode_to_vec());
    }

    /// Sends the span that `make` makes, if the trace is exported.
    pub(super) fn span(&mut self, make: impl FnOnce() -> (InstrumentationScope, Span)) {
        if !self.subject.trace.sampled {
            self.sender.span_unsampled();
            return;
        }
        if !self.admits(EventKind::Span) {
            return;
        }
        let (scope, mut span) = make();
        self.add_subject(&mut span.attributes);
        span.trace_id = self.subject.trace.trace_id.to_bits().to_be_bytes().into();
        self.send(EventKind::Span, &scope, span.encode_to_vec());
    }

    fn admits(&mut self, kind: EventKind) -> bool {
        let fits = self.made < GUEST_EVENTS_PER_TASK_MAX;
        if fits {
            self.made += 1;
        } else {
            self.sender.drop_event(kind);
        }
        fits
    }

    fn add_subject(&self, attributes: &mut Vec<Pair>) {
        let task = text_value(self.subject.task.to_string());
        attributes.push(pair("vyr.task.id".into(), task));
        if let Some(digest) = self.subject.artifact {
            let digest = text_value(digest.to_string());
            attributes.push(pair("vyr.artifact.digest".into(), digest));
        }
    }

    fn send(&self, kind: EventKind, scope: &InstrumentationScope, message: Vec<u8>) {
        self.sender.send(GuestEvent {
            kind,
            scope: scope.encode_to_vec(),
            message,
        });
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.end_line();
    }
}

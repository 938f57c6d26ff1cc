//! A record as an OpenTelemetry span: kind, error, attributes.
//!
//! Names are those of the semantic conventions for HTTP and FaaS where they have one, else `vyr.…`:
//! <https://opentelemetry.io/docs/specs/semconv/>.

use super::detail::Detail;
use super::record::{Record, Step};
use crate::digest::Digest;
use crate::id::{StateId, TaskId};
use crate::task::Kind;

/// The kind of a span, with OTLP's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanKind {
    /// Inside the shard.
    Internal = 1,
    /// Answers a request.
    Server = 2,
    /// Sends one.
    Client = 3,
    /// Takes work from a queue.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// A task's id, as text.
    Task(TaskId),
    /// A state's id, as text.
    State(StateId),
    /// A digest, as text.
    Digest(Digest),
}

impl Record {
    /// The span's kind.
    #[must_use]
    pub fn span_kind(&self) -> SpanKind {
        match (self.step, self.kind) {
            (Step::Task, Kind::Http) => SpanKind::Server,
            (Step::Task, Kind::Command) => SpanKind::Consumer,
            (Step::Forward | Step::Call, _) => SpanKind::Client,
            _ => SpanKind::Internal,
        }
    }

    /// Why the step failed, in a word that does not change; `None` when it did not.
    #[must_use]
    pub fn error_type(&self) -> Option<&'static str> {
        let failure = match self.detail {
            Detail::Exchange(exchange) => exchange.failure,
            _ => None,
        };
        self.code.map(|code| code.as_str()).or(failure)
    }

    /// Gives every attribute of the span to `visit`, in a fixed order.
    pub fn attributes(&self, mut visit: impl FnMut(&'static str, Attribute<'_>)) {
        visit("vyr.task.id", Attribute::Task(self.task));
        if let Some(error) = self.error_type() {
            visit("error.type", Attribute::Text(error));
        }
        if self.step == Step::Task {
            if let Some(digest) = self.artifact {
                visit("vyr.artifact.digest", Attribute::Digest(digest));
            }
            visit("vyr.task.kind", Attribute::Text(self.kind.as_str()));
            visit("vyr.task.status", Attribute::Text(self.status.as_str()));
            visit("faas.coldstart", Attribute::Flag(self.cold));
        }
        match &self.detail {
            Detail::None | Detail::Guest { .. } => {}
            Detail::Bind { state, name } => {
                visit("vyr.state.id", Attribute::State(*state));
                visit("vyr.state.name", Attribute::Text(name.as_str()));
            }
            Detail::Exchange(exchange) => {
                let method = Attribute::Text(exchange.method.as_str());
                visit("http.request.method", method);
                if exchange.status > 0 {
                    let status = Attribute::Number(exchange.status.into());
                    visit("http.response.status_code", status);
                }
                if exchange.port > 0 {
                    visit("server.address", Attribute::Text(exchange.host.as_str()));
                    visit("server.port", Attribute::Number(exchange.port.into()));
                }
            }
        }
    }
}

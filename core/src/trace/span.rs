//! A record as an OpenTelemetry span: kind, error, attributes.
//!
//! Names are those of the semantic conventions for HTTP and FaaS where they have one, else `vyr.…`:
//! <https://opentelemetry.io/docs/specs/semconv/>.

use super::detail::{Detail, Exchange, ShortText};
use super::record::{Record, Step};
use crate::digest::Digest;
use crate::id::{StateId, TaskId};
use crate::problem::Code;
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

    /// Why the step failed, in a word that does not change. `None` when it did not, or when its response says it.
    #[must_use]
    pub fn failure(&self) -> Option<&'static str> {
        let failure = match self.detail {
            Detail::Exchange(exchange) => exchange.failure,
            _ => None,
        };
        self.code.map(|code| code.as_str()).or(failure)
    }

    /// Whether the span is an error: the step failed, or its response says that the server did, or, to a client, that
    /// the client did.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let error_min = match self.span_kind() {
            SpanKind::Client => 400,
            _ => 500,
        };
        self.failure().is_some()
            || self
                .response_status()
                .is_some_and(|status| status >= error_min)
    }

    /// The status of the response: the guest's, or the one with which the node tells why there is none.
    fn response_status(&self) -> Option<u16> {
        match self.detail {
            Detail::Exchange(Exchange { status: 0, .. }) => match self.code {
                // Nobody was there to get one.
                Some(Code::ClientGone) | None => None,
                Some(code) => Some(code.status()),
            },
            Detail::Exchange(exchange) => Some(exchange.status),
            _ => None,
        }
    }

    /// Gives every attribute of the span to `visit`, in a fixed order.
    pub fn attributes(&self, mut visit: impl FnMut(&'static str, Attribute<'_>)) {
        visit("vyr.task.id", Attribute::Task(self.task));
        if let Some(failure) = self.failure() {
            visit("error.type", Attribute::Text(failure));
        } else if let Some(status) = self.response_status().filter(|_| self.is_error()) {
            let digits = ShortText::of_number(status);
            visit("error.type", Attribute::Text(digits.as_str()));
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
                if let Some(status) = self.response_status() {
                    visit(
                        "http.response.status_code",
                        Attribute::Number(status.into()),
                    );
                }
                let scheme = if exchange.is_tls { "https" } else { "http" };
                visit("url.scheme", Attribute::Text(scheme));
                let target = Attribute::Text(exchange.target.as_str());
                if self.step == Step::Call {
                    visit("server.address", target);
                    visit("server.port", Attribute::Number(exchange.port.into()));
                } else {
                    visit("url.path", target);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::TraceIdSource;
    use super::super::detail::Method;
    use super::*;
    use crate::task::Status;

    /// What the span of a task, or of a call, says of its status, its error's type and whether it is an error.
    fn told(step: Step, status: u16, code: Option<Code>) -> (Option<i64>, Option<String>, bool) {
        let ids = TraceIdSource::with_seed(1);
        let exchange = Exchange {
            status,
            ..Exchange::received(Method::Get, "/path")
        };
        let record = Record {
            task: TaskId::from_bits(1),
            artifact: None,
            trace_id: ids.trace_id(),
            span_id: ids.span_id(),
            parent: None,
            start_unix_ns: 0,
            duration_ns: 0,
            step,
            kind: Kind::Http,
            status: Status::Succeeded,
            code,
            sampled: true,
            cold: false,
            detail: Detail::Exchange(exchange),
        };
        let (mut shown, mut error) = (None, None);
        record.attributes(|key, value| match (key, value) {
            ("http.response.status_code", Attribute::Number(status)) => shown = Some(status),
            ("error.type", Attribute::Text(text)) => error = Some(text.to_owned()),
            _ => {}
        });
        (shown, error, record.is_error())
    }

    #[test]
    fn a_response_is_an_error_to_whom_it_is_one() {
        let error = |text: &str| Some(text.to_owned());
        for (step, status, wanted) in [
            (Step::Task, 399, (Some(399), None, false)),
            (Step::Task, 499, (Some(499), None, false)),
            (Step::Task, 500, (Some(500), error("500"), true)),
            (Step::Call, 399, (Some(399), None, false)),
            (Step::Call, 400, (Some(400), error("400"), true)),
            (Step::Call, 503, (Some(503), error("503"), true)),
            (Step::Call, 0, (None, None, false)),
        ] {
            assert_eq!(told(step, status, None), wanted, "{step} {status}");
        }
    }

    #[test]
    fn a_failed_task_shows_the_status_that_its_client_got() {
        let trap = |status| told(Step::Task, status, Some(Code::GuestTrap));
        let error = Some("guest_trap".to_owned());
        assert_eq!(trap(0), (Some(502), error.clone(), true));
        assert_eq!(trap(200), (Some(200), error, true));
        let gone = told(Step::Task, 0, Some(Code::ClientGone));
        assert_eq!(gone, (None, Some("client_gone".to_owned()), true));
    }
}

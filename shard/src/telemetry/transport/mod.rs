//! Sends encoded requests to the collector: attempts, pauses, and what the answer says.
//!
//! OTLP 1.x, the sections on responses and failures:
//! <https://opentelemetry.io/docs/specs/otlp/>. Only what may be better the next time is tried again;
//! anything else is final.

mod grpc;
mod headers;
mod http;

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use super::config::{ExporterConfig, ExporterError, Protocol};

const BACKOFF_MAX: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// The way to the collector.
pub(super) struct Transport {
    client: Client,
    attempts_max: u32,
    backoff: Duration,
}

enum Client {
    Http(http::HttpClient),
    Grpc(grpc::GrpcClient),
}

/// What became of a request.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Whether the collector took it.
    pub(super) accepted: bool,
    /// Items that it rejected from a request which it took otherwise.
    pub(super) rejected: u64,
    /// Why it did not take the request, or not all of it.
    pub(super) why: String,
}

impl Verdict {
    /// How many of a request's items were not taken.
    pub(super) fn dropped_of(&self, items: usize) -> usize {
        let rejected = usize::try_from(self.rejected).unwrap_or(items);
        if self.accepted {
            rejected.min(items)
        } else {
            items
        }
    }
}

/// What became of one attempt.
enum Attempt {
    /// The collector took the request; its answer.
    Accepted(Bytes),
    /// It may do so later, after this time if it named one.
    Again {
        why: String,
        after: Option<Duration>,
    },
    Refused(String),
}

impl Transport {
    /// To be called on the runtime that will send.
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, ExporterError> {
        let endpoint = config.check()?;
        let headers = headers::from_environment()?;
        let client = match config.protocol {
            Protocol::HttpProtobuf => {
                Client::Http(http::HttpClient::new(&endpoint, headers, config.timeout)?)
            }
            Protocol::Grpc => {
                Client::Grpc(grpc::GrpcClient::new(&endpoint, headers, config.timeout)?)
            }
        };
        Ok(Self {
            client,
            attempts_max: config.attempts_max,
            backoff: config.backoff,
        })
    }

    /// Sends one request, again and again within its bounds while that may help.
    pub(super) async fn send(&self, signal: Signal, request: Bytes) -> Verdict {
        let mut pause = self.backoff;
        let mut attempt = 0;
        let refused = |why| Verdict {
            why,
            ..Verdict::default()
        };
        loop {
            attempt += 1;
            match self.attempt(signal, request.clone()).await {
                Attempt::Accepted(answer) => return read_answer(answer),
                Attempt::Refused(why) => return refused(why),
                Attempt::Again { why, .. } if attempt >= self.attempts_max => return refused(why),
                Attempt::Again { after, .. } => {
                    let after = after.unwrap_or_default().min(RETRY_AFTER_MAX);
                    tokio::time::sleep(after.max(pause)).await;
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Sends one request once.
    pub(super) async fn send_once(&self, signal: Signal, request: Bytes) -> Verdict {
        match self.attempt(signal, request).await {
            Attempt::Accepted(answer) => read_answer(answer),
            Attempt::Refused(why) | Attempt::Again { why, .. } => Verdict {
                why,
                ..Verdict::default()
            },
        }
    }

    async fn attempt(&self, signal: Signal, request: Bytes) -> Attempt {
        match &self.client {
            Client::Http(client) => client.attempt(signal, request).await,
            Client::Grpc(client) => client.attempt(signal, request).await,
        }
    }
}

/// An answer that cannot be read accepts the request, as its status says. The answers for all signals
/// have the same shape.
fn read_answer(answer: Bytes) -> Verdict {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    Verdict {
        accepted: true,
        rejected: partial.rejected_spans.max(0).unsigned_abs(),
        why: format!(
            "the collector rejected a part: {}",
            shorten(&partial.error_message)
        ),
    }
}

/// The innermost cause says what happened ("connection refused"), the outer ones where.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    shorten(&cause.to_string())
}

fn shorten(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}

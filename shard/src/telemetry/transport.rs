//! Sends encoded batches to the collector: attempts, pauses, and what the answer says.
//!
//! OTLP 1.x, sections "OTLP/HTTP response" and "failures":
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>. Only 429, 502, 503, 504 and a
//! missing answer are tried again; anything else is final.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use prost::Message as _;

use super::config::{ExporterConfig, ExporterError};

const BACKOFF_MAX: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The HTTP client under the OTLP exporter.
#[derive(Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    attempts_max: u32,
    backoff: Duration,
    verdict: Arc<Mutex<Verdict>>,
}

/// What the collector said about the last batch; the OTLP exporter does not pass it on.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Spans it rejected from a batch that it accepted otherwise.
    pub(super) rejected: u64,
    /// Why it did not accept the batch, or why not all of it.
    pub(super) why: String,
}

impl Transport {
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, ExporterError> {
        let client = reqwest::Client::builder()
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| ExporterError::Client(error.into()))?;
        Ok(Self {
            client,
            attempts_max: config.attempts_max,
            backoff: config.backoff,
            verdict: Arc::default(),
        })
    }

    /// Where the verdict on each batch is put.
    pub(super) fn verdict(&self) -> Arc<Mutex<Verdict>> {
        Arc::clone(&self.verdict)
    }

    /// The OTLP exporter that sends through this client.
    pub(super) fn into_exporter(
        self,
        timeout: Duration,
        address: &str,
        resource: &Resource,
    ) -> Result<SpanExporter, ExporterError> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_timeout(timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(self)
            .build()
            .map_err(|error| ExporterError::Client(error.into()))?;
        exporter.set_resource(resource);
        Ok(exporter)
    }

    async fn attempt(&self, request: Request<Bytes>) -> Attempt {
        let response = match self.client.send_bytes(request).await {
            Ok(response) => response,
            Err(error) => {
                return Attempt::Again {
                    why: root_cause(&*error),
                    after: None,
                };
            }
        };
        match response.status() {
            status if status.is_success() => Attempt::Answered(response),
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Attempt::Again {
                why: answered(status),
                after: retry_after(&response),
            },
            status => Attempt::Refused(answered(status)),
        }
    }

    async fn attempts(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut pause = self.backoff;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(request.clone()).await {
                Attempt::Answered(response) => return Ok(response),
                Attempt::Refused(why) => return Err(why),
                Attempt::Again { why, .. } if attempt >= self.attempts_max => return Err(why),
                Attempt::Again { after, .. } => {
                    tokio::time::sleep(after.unwrap_or_default().max(pause)).await;
                    pause = (pause * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

enum Attempt {
    Answered(Response<Bytes>),
    Again {
        why: String,
        after: Option<Duration>,
    },
    Refused(String),
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.attempts(request).await;
        let verdict = match &outcome {
            Ok(response) => read_verdict(response),
            Err(why) => Verdict {
                rejected: 0,
                why: why.clone(),
            },
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        outcome.map_err(Into::into)
    }
}

/// An answer that cannot be read accepts the batch, as its status says.
fn read_verdict(response: &Response<Bytes>) -> Verdict {
    let answer = ExportTraceServiceResponse::decode(response.body().clone()).unwrap_or_default();
    let Some(partial) = answer.partial_success else {
        return Verdict::default();
    };
    let why = format!(
        "the collector rejected spans: {}",
        shorten(&partial.error_message)
    );
    Verdict {
        rejected: partial.rejected_spans.max(0).unsigned_abs(),
        why,
    }
}

fn answered(status: StatusCode) -> String {
    format!("the collector answered {status}")
}

/// Seconds only: a date would trust the collector's clock, and pauses are bounded anyway.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
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

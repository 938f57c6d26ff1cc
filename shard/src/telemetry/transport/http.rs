//! OTLP/HTTP with binary protobuf.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Attempt, Signal, root_cause};
use crate::telemetry::config::{Endpoint, ExporterError};

pub(super) struct HttpClient {
    client: reqwest::Client,
    traces: String,
    metrics: String,
    logs: String,
}

impl HttpClient {
    pub(super) fn new(
        endpoint: &Endpoint,
        mut headers: HeaderMap,
        timeout: Duration,
    ) -> Result<Self, ExporterError> {
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| ExporterError::Client(error.into()))?;
        Ok(Self {
            client,
            traces: endpoint.http_url("traces"),
            metrics: endpoint.http_url("metrics"),
            logs: endpoint.http_url("logs"),
        })
    }

    pub(super) async fn attempt(&self, signal: Signal, request: Bytes) -> Attempt {
        let url = match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        };
        let again = |error: reqwest::Error| Attempt::Again {
            why: root_cause(&error),
            after: None,
        };
        let response = match self.client.post(url).body(request).send().await {
            Ok(response) => response,
            Err(error) => return again(error),
        };
        match response.status() {
            status if status.is_success() => match response.bytes().await {
                Ok(answer) => Attempt::Accepted(answer),
                Err(error) => again(error),
            },
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Attempt::Again {
                why: answered(status),
                after: retry_after(response.headers()),
            },
            status => Attempt::Refused(answered(status)),
        }
    }
}

fn answered(status: StatusCode) -> String {
    format!("the collector answered {status}")
}

/// Seconds only: a date would trust the collector's clock, and pauses are bounded anyway.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

//! What an exporter is told, and why it may refuse.

use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};
use vyr_core::id::ShardNumber;

/// How telemetry travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// OTLP over HTTP, as binary protobuf; collectors listen on port 4318.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// OTLP over gRPC; collectors listen on port 4317.
    #[serde(rename = "grpc")]
    Grpc,
}

impl FromStr for Protocol {
    type Err = ExporterError;

    /// The names of the OpenTelemetry specification.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "grpc" => Ok(Self::Grpc),
            _ => Err(ExporterError::Protocol(text.into())),
        }
    }
}

/// What a node tells a collector, and how.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How the collector is spoken to.
    pub otlp_protocol: Protocol,
    /// The share of the traces that begin here which is exported, 0 to 1. Traces that a client began are
    /// exported as it says.
    pub sample_ratio: f64,
    /// Time between two exports of the metrics, milliseconds; 0 exports none.
    pub metrics_interval_ms: u64,
    /// Whether what guests log is exported: through `wasi:logging`, `wasi:otel` and their standard streams.
    pub guest_logs: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_protocol: Protocol::default(),
            sample_ratio: 1.0,
            metrics_interval_ms: 10_000,
            guest_logs: false,
        }
    }
}

/// How an exporter sends, and its bounds.
#[derive(Debug, Clone)]
pub struct ExporterConfig {
    /// The collector, as `http://HOST:PORT[/BASE]`; over HTTP `/v1/traces` and the like are added.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The shard whose records these are.
    pub shard: ShardNumber,
    /// Resource attributes beside those of [`Exporter`](super::Exporter), or instead of them.
    pub resource: Vec<(String, String)>,
    /// CPUs the thread may use; empty for all that the kernel lets the process use.
    pub cpus: Vec<usize>,
    /// Records of one request.
    pub batch_records_max: usize,
    /// Records that wait behind the ring while a request is on its way.
    pub queue_records_max: usize,
    /// Longest time a record waits for its batch to fill.
    pub interval: Duration,
    /// Longest time for one attempt to send a batch.
    pub timeout: Duration,
    /// Attempts to send a batch before it is dropped.
    pub attempts_max: u32,
    /// Pause after the first failed attempt; it doubles up to 5 s. A collector may ask for longer, up to 30 s.
    pub backoff: Duration,
}

impl ExporterConfig {
    /// The usual bounds for this collector and shard.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, shard: ShardNumber) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol: Protocol::default(),
            shard,
            resource: Vec::new(),
            cpus: Vec::new(),
            batch_records_max: 2048,
            queue_records_max: 1 << 16,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            attempts_max: 5,
            backoff: Duration::from_millis(200),
        }
    }

    /// Checks the values and gives the address to send to.
    pub(super) fn check(&self) -> Result<Endpoint, ExporterError> {
        let positive = [
            ("batch_records_max", self.batch_records_max > 0),
            ("queue_records_max", self.queue_records_max > 0),
            ("attempts_max", self.attempts_max > 0),
            ("timeout", !self.timeout.is_zero()),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, holds)| !holds) {
            return Err(ExporterError::Zero(name));
        }
        Endpoint::of(&self.endpoint).map_err(|why| ExporterError::Endpoint {
            endpoint: self.endpoint.clone(),
            why,
        })
    }
}

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    authority: String,
    /// What comes before `/v1/traces`; empty, or from a slash on.
    base: String,
    /// Empty, or from the question mark on.
    query: String,
}

impl Endpoint {
    fn of(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("this build has no TLS; send to a collector on this host"),
            _ => return Err("it does not begin with http://"),
        }
        let authority = uri.authority().ok_or("it names no host")?.to_string();
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            authority,
            // Whoever names the address of one signal means all of them.
            base: path.strip_suffix("/v1/traces").unwrap_or(path).to_owned(),
            query: uri
                .query()
                .map_or_else(String::new, |query| format!("?{query}")),
        })
    }

    /// Where it takes one signal over HTTP.
    pub(super) fn http_url(&self, signal: &str) -> String {
        let Self {
            authority,
            base,
            query,
        } = self;
        format!("http://{authority}{base}/v1/{signal}{query}")
    }

    /// The collector without a path.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.authority)
    }
}

/// Why an exporter does not start.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint cannot be used.
    #[error(
        "the OTLP endpoint '{endpoint}' cannot be used: {why}; give one like http://127.0.0.1:4318"
    )]
    Endpoint {
        /// The endpoint as it was given.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A bound that must not be zero is.
    #[error("the exporter's {0} must not be 0")]
    Zero(&'static str),
    /// The protocol has no such name.
    #[error("'{0}' is no OTLP protocol; there are http/protobuf and grpc")]
    Protocol(String),
    /// A header of the environment is not valid.
    #[error(
        "OTEL_EXPORTER_OTLP_HEADERS: '{name}' is no valid pair; give NAME=VALUE,NAME=VALUE with \
         percent-encoded values"
    )]
    Header {
        /// The header's name, as far as there is one.
        name: String,
    },
    /// The client refuses to be built.
    #[error("the OTLP client cannot be set up: {0}")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system refuses the thread.
    #[error("the exporter's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_gets_its_path_or_an_explanation() {
        let check = |text: &str| {
            let endpoint = ExporterConfig::new(text, ShardNumber(0)).check()?;
            Ok::<_, ExporterError>(endpoint.http_url("traces"))
        };
        for (given, address) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
            ("http://collector/otlp", "http://collector/otlp/v1/traces"),
            (
                "http://collector/otlp/v1/traces",
                "http://collector/otlp/v1/traces",
            ),
            (
                "http://collector/in?key=1",
                "http://collector/in/v1/traces?key=1",
            ),
        ] {
            assert_eq!(check(given).ok().as_deref(), Some(address));
        }
        for (given, part) in [
            ("https://collector:4318", "TLS"),
            ("127.0.0.1:4318", "http://"),
            ("grpc://collector", "http://"),
            ("", "URL"),
            ("http://", "URL"),
        ] {
            let error = check(given).expect_err(given).to_string();
            assert!(error.contains(part), "{given}: {error}");
        }
    }

    #[test]
    fn bounds_are_not_zero() {
        let mut config = ExporterConfig::new("http://127.0.0.1:4318", ShardNumber(0));
        config.queue_records_max = 0;
        let error = config
            .check()
            .expect_err("a queue without room")
            .to_string();
        assert!(error.contains("queue_records_max"), "{error}");
    }
}

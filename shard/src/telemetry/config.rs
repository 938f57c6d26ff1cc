//! What an exporter is told, and why it may refuse.

use std::time::Duration;

use http::Uri;
use vyr_core::id::ShardNumber;

/// How an exporter sends, and its bounds.
#[derive(Debug, Clone)]
pub struct ExporterConfig {
    /// The collector, as `http://HOST:PORT`; `/v1/traces` is added unless a path is given.
    pub endpoint: String,
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
    pub(super) fn check(&self) -> Result<String, ExporterError> {
        let positive = [
            ("batch_records_max", self.batch_records_max > 0),
            ("queue_records_max", self.queue_records_max > 0),
            ("attempts_max", self.attempts_max > 0),
            ("timeout", !self.timeout.is_zero()),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, holds)| !holds) {
            return Err(ExporterError::Zero(name));
        }
        let refuse = |why| ExporterError::Endpoint {
            endpoint: self.endpoint.clone(),
            why,
        };
        let uri: Uri = self
            .endpoint
            .parse()
            .map_err(|_| refuse("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(refuse(
                    "this build has no TLS; send to a collector on this host",
                ));
            }
            _ => return Err(refuse("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { "/v1/traces" } else { path };
        Ok(format!("http://{authority}{path}"))
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
    /// The OTLP client refuses to be built, most likely for an `OTEL_…` environment variable.
    #[error(
        "the OTLP exporter cannot be set up; check the OTEL_EXPORTER_OTLP_… environment variables"
    )]
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
        let check = |text: &str| ExporterConfig::new(text, ShardNumber(0)).check();
        for (given, address) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
            (
                "http://collector/otlp/v1/traces",
                "http://collector/otlp/v1/traces",
            ),
            ("http://collector/in?key=1", "http://collector/in?key=1"),
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

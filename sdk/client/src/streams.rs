//! Live streams: a node's finished spans, and its metrics at intervals.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vyr_core::id::ShardNumber;
use vyr_core::metrics::Snapshot;

use crate::connection::{Client, Error};
use crate::events::{Event, Reader};
use crate::spans::Span;
use crate::tasks::query;

/// A node sends something at least every 15 seconds: one silent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What came, and the JSON it came as, on one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Received<T> {
    /// What came.
    pub value: T,
    /// As it came.
    pub json: String,
}

/// What a trace stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceEvent {
    /// A finished span.
    Span(Box<Received<Span>>),
    /// Spans came faster than they were read.
    Lost(Received<Lost>),
}

/// Spans that a stream did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The shard that had them.
    pub shard: ShardNumber,
    /// How many.
    pub spans: u64,
}

/// What a metric stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricEvent {
    /// The metrics of one shard.
    Shard(Box<Received<ShardMetrics>>),
    /// A shard did not answer.
    Missing(Received<Missing>),
}

/// A shard's metrics at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardMetrics {
    /// The shard.
    pub shard: ShardNumber,
    /// When they were read, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The metrics; all but gauges count from the start of the shard's process.
    #[serde(flatten)]
    pub snapshot: Snapshot,
}

/// A shard that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The shard.
    pub shard: ShardNumber,
}

/// A node's spans as they finish.
#[derive(Debug)]
pub struct TraceStream(EventStream);

/// A node's metrics, at intervals.
#[derive(Debug)]
pub struct MetricStream(EventStream);

impl Client {
    /// The spans of all shards from now on; only of one task or one artifact if given. Of one task
    /// come those too that ended before and that the node still keeps.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn traces(
        &self,
        task: Option<&str>,
        artifact: Option<&str>,
    ) -> Result<TraceStream, Error> {
        let parameters = [
            ("task", task.map(str::to_owned)),
            ("artifact", artifact.map(str::to_owned)),
        ];
        let path = format!("/v0/traces{}", query(parameters));
        Ok(TraceStream(self.events(&path, SILENCE_MAX).await?))
    }

    /// The metrics of every shard, or of one: once at once, then at each interval.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metrics(
        &self,
        interval: Duration,
        shard: Option<ShardNumber>,
    ) -> Result<MetricStream, Error> {
        let parameters = [
            ("interval", Some(format!("{}ms", interval.as_millis()))),
            ("shard", shard.map(|shard| shard.to_string())),
        ];
        let path = format!("/v0/metrics{}", query(parameters));
        let silence_max = SILENCE_MAX + interval;
        Ok(MetricStream(self.events(&path, silence_max).await?))
    }

    async fn events(&self, path: &str, silence_max: Duration) -> Result<EventStream, Error> {
        let response = self.call(Method::GET, path).await?;
        Ok(EventStream {
            client: self.clone(),
            body: response.into_body(),
            reader: Reader::default(),
            silence_max,
        })
    }
}

impl TraceStream {
    /// What comes next. Kinds of events that this client does not know are passed over.
    ///
    /// # Errors
    /// [`Error::Connection`] also when the node ends the stream: it has no end of its own.
    pub async fn next(&mut self) -> Result<TraceEvent, Error> {
        loop {
            let event = self.0.next().await?;
            match event.name.as_str() {
                "span" => return Ok(TraceEvent::Span(Box::new(self.0.read(event)?))),
                "lost" => return Ok(TraceEvent::Lost(self.0.read(event)?)),
                _ => {}
            }
        }
    }
}

impl MetricStream {
    /// What comes next. Kinds of events that this client does not know are passed over.
    ///
    /// # Errors
    /// [`Error::Connection`] also when the node ends the stream: it has no end of its own.
    pub async fn next(&mut self) -> Result<MetricEvent, Error> {
        loop {
            let event = self.0.next().await?;
            match event.name.as_str() {
                "metrics" => return Ok(MetricEvent::Shard(Box::new(self.0.read(event)?))),
                "missing" => return Ok(MetricEvent::Missing(self.0.read(event)?)),
                _ => {}
            }
        }
    }
}

#[derive(Debug)]
struct EventStream {
    client: Client,
    body: Incoming,
    reader: Reader,
    silence_max: Duration,
}

impl EventStream {
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(event);
            }
            let frame = tokio::time::timeout(self.silence_max, self.body.frame());
            let frame = frame.await.map_err(|_| {
                let silence_s = self.silence_max.as_secs();
                self.client.lost(format!(
                    "nothing came for {silence_s} s, the stream is dead"
                ))
            })?;
            let frame = frame.ok_or_else(|| self.client.lost("the node ended the stream"))?;
            let frame = frame.map_err(|error| self.client.lost(error))?;
            if let Ok(bytes) = frame.into_data() {
                self.reader
                    .push(&bytes)
                    .map_err(|error| self.client.protocol(error))?;
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, event: Event) -> Result<Received<T>, Error> {
        let value = serde_json::from_str(&event.data).map_err(|error| {
            self.client.protocol(format!(
                "an event '{}' is not understood: {error}",
                event.name
            ))
        })?;
        // A line feed that separates data lines is JSON's white space.
        let json = if event.data.contains('\n') {
            event.data.replace('\n', " ")
        } else {
            event.data
        };
        Ok(Received { value, json })
    }
}

#[cfg(test)]
mod tests;

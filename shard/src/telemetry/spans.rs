//! Turns records into OpenTelemetry spans.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use vyr_core::digest::Digest;
use vyr_core::id::TaskId;
use vyr_core::trace::{Attribute, Record, SpanKind as Kind, Step};

use super::config::ExporterConfig;

/// Digests whose text is kept. A shard holds few artifacts at a time.
const DIGEST_TEXTS_MAX: usize = 256;

/// Makes the spans of one shard.
pub(super) struct Spans {
    scope: InstrumentationScope,
    digests: HashMap<Digest, Arc<str>>,
    /// The text of the last task's id: the steps of a task mostly come one after the other.
    task: Option<(TaskId, Arc<str>)>,
}

impl Spans {
    pub(super) fn new() -> Self {
        let scope = InstrumentationScope::builder("vyr").with_version(env!("CARGO_PKG_VERSION"));
        Self {
            scope: scope.build(),
            digests: HashMap::new(),
            task: None,
        }
    }

    pub(super) fn span(&mut self, record: &Record) -> SpanData {
        let start_time = UNIX_EPOCH + Duration::from_nanos(record.start_unix_ns);
        let is_root = record.step == Step::Task;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(record.trace_id.to_bits()),
                SpanId::from(record.span_id.to_bits()),
                if record.sampled {
                    TraceFlags::SAMPLED
                } else {
                    TraceFlags::NOT_SAMPLED
                },
                false,
                TraceState::NONE,
            ),
            parent_span_id: record
                .parent
                .map_or(SpanId::INVALID, |parent| SpanId::from(parent.to_bits())),
            parent_span_is_remote: is_root && record.parent.is_some(),
            span_kind: match record.span_kind() {
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Consumer => SpanKind::Consumer,
                Kind::Internal => SpanKind::Internal,
            },
            name: record.name().to_owned().into(),
            start_time,
            end_time: start_time + Duration::from_nanos(record.duration_ns),
            attributes: self.attributes(record, is_root),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: record.error_type().map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn attributes(&mut self, record: &Record, is_root: bool) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(if is_root { 8 } else { 2 });
        record.attributes(|key, attribute| {
            attributes.push(match attribute {
                Attribute::Text(text) => KeyValue::new(key, text.to_owned()),
                Attribute::Number(number) => KeyValue::new(key, number),
                Attribute::Flag(flag) => KeyValue::new(key, flag),
                Attribute::Task(task) => KeyValue::new(key, self.task_text(task)),
                Attribute::State(state) => KeyValue::new(key, state.to_string()),
                Attribute::Digest(digest) => KeyValue::new(key, self.digest_text(&digest)),
            });
        });
        attributes
    }

    fn task_text(&mut self, task: TaskId) -> StringValue {
        match &self.task {
            Some((last, text)) if *last == task => Arc::clone(text).into(),
            _ => {
                let text: Arc<str> = task.to_string().into();
                self.task = Some((task, Arc::clone(&text)));
                text.into()
            }
        }
    }

    fn digest_text(&mut self, digest: &Digest) -> StringValue {
        if let Some(text) = self.digests.get(digest) {
            return Arc::clone(text).into();
        }
        if self.digests.len() >= DIGEST_TEXTS_MAX {
            self.digests.clear();
        }
        let text: Arc<str> = digest.to_string().into();
        self.digests.insert(*digest, Arc::clone(&text));
        text.into()
    }
}

/// What the spans of this process are from.
pub(super) fn resource(config: &ExporterConfig) -> Resource {
    let service = std::env::var("OTEL_SERVICE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let own = Resource::builder_empty()
        .with_attribute(KeyValue::new(
            "service.name",
            service.unwrap_or_else(|| "vyr".into()),
        ))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("host.name", host))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .with_attribute(KeyValue::new("vyr.shard", i64::from(config.shard.0)));
    let given = config
        .resource
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    own.with_detector(Box::new(EnvResourceDetector::new()))
        .with_attributes(given)
        .build()
}

//! Encodes records as OTLP spans, straight from the record: by way of the OpenTelemetry SDK's own types
//! a task's six spans cost four times as much.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours, version
//! 1.x: <https://github.com/open-telemetry/opentelemetry-proto>.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use prost::Message as _;
use vyr_core::digest::Digest;
use vyr_core::id::TaskId;
use vyr_core::trace::{Attribute, Record, Step};

use super::protobuf::{put_bytes, put_fixed32, put_fixed64, put_number};
use super::resource::{Resource, scope};

/// Digests whose text is kept. A shard holds few artifacts at a time.
const DIGEST_TEXTS_MAX: usize = 256;
/// OTLP's number of the status *error*.
const STATUS_ERROR: u64 = 2;
/// OTLP's flags of a span: the sampled bit of W3C, and whether the parent is known to be remote or not.
const FLAG_SAMPLED: u32 = 0x1;
const FLAG_PARENT_KNOWN: u32 = 0x100;
const FLAG_PARENT_REMOTE: u32 = 0x200;

/// Makes the requests (`ExportTraceServiceRequest`) of one shard.
pub(super) struct Spans {
    /// `ResourceSpans.resource`, as a field.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`, as a field.
    scope: Vec<u8>,
    /// `ScopeSpans.spans`, as fields, of the request that is being made.
    spans: Vec<u8>,
    /// One span; kept for its memory.
    span: Vec<u8>,
    texts: Texts,
}

impl Spans {
    pub(super) fn new(resource: &Resource) -> Self {
        let (mut resource_field, mut scope_field) = (Vec::new(), Vec::new());
        put_bytes(&mut resource_field, 1, &resource.encode_to_vec());
        put_bytes(&mut scope_field, 1, &scope().encode_to_vec());
        Self {
            resource: resource_field,
            scope: scope_field,
            spans: Vec::new(),
            span: Vec::new(),
            texts: Texts::default(),
        }
    }

    /// Adds a span to the next request.
    pub(super) fn add(&mut self, record: &Record) {
        self.span.clear();
        encode(&mut self.span, record, &mut self.texts);
        put_bytes(&mut self.spans, 2, &self.span);
    }

    /// The request with the spans added since the last one.
    pub(super) fn request(&mut self) -> Bytes {
        let mut scope_spans = Vec::with_capacity(self.scope.len() + self.spans.len());
        scope_spans.extend_from_slice(&self.scope);
        scope_spans.append(&mut self.spans);
        // Room for the tags and lengths around it, at most ten bytes each.
        let mut scopes = Vec::with_capacity(scope_spans.len() + 10);
        put_bytes(&mut scopes, 2, &scope_spans);
        self.request_of(&scopes)
    }

    /// The request with these `ScopeSpans`, or `ScopeLogs`: what is around them has the same shape.
    pub(super) fn request_of(&self, scopes: &[u8]) -> Bytes {
        let resource_spans = [&self.resource, scopes].concat();
        let mut request = Vec::with_capacity(resource_spans.len() + 10);
        put_bytes(&mut request, 1, &resource_spans);
        request.into()
    }
}

/// Adds the fields of a `Span`.
fn encode(span: &mut Vec<u8>, record: &Record, texts: &mut Texts) {
    put_bytes(span, 1, &record.trace_id.to_bits().to_be_bytes());
    put_bytes(span, 2, &record.span_id.to_bits().to_be_bytes());
    if let Some(parent) = record.parent {
        put_bytes(span, 4, &parent.to_bits().to_be_bytes());
    }
    put_bytes(span, 5, record.name().as_bytes());
    put_number(span, 6, record.span_kind() as u64);
    put_fixed64(span, 7, record.start_unix_ns);
    let end_unix_ns = record.start_unix_ns.saturating_add(record.duration_ns);
    put_fixed64(span, 8, end_unix_ns);
    record.attributes(|key, attribute| put_attribute(span, key, attribute, texts));
    if let Some(error) = record.error_type() {
        // `Status`: the message, then the code.
        let mut status = Vec::with_capacity(error.len() + 4);
        put_bytes(&mut status, 2, error.as_bytes());
        put_number(&mut status, 3, STATUS_ERROR);
        put_bytes(span, 15, &status);
    }
    put_fixed32(span, 16, flags(record));
}

fn flags(record: &Record) -> u32 {
    let comes_from_outside = matches!(record.step, Step::Task | Step::Forward);
    let remote = comes_from_outside && record.parent.is_some();
    let sampled = if record.sampled { FLAG_SAMPLED } else { 0 };
    sampled | FLAG_PARENT_KNOWN | if remote { FLAG_PARENT_REMOTE } else { 0 }
}

/// Adds a `KeyValue`.
fn put_attribute(span: &mut Vec<u8>, key: &str, attribute: Attribute<'_>, texts: &mut Texts) {
    let mut pair = std::mem::take(&mut texts.pair);
    let mut value = std::mem::take(&mut texts.value);
    pair.clear();
    value.clear();
    // `AnyValue`: 1 is a string, 2 a boolean, 3 an integer, a negative one as its two's complement.
    match attribute {
        Attribute::Text(text) => put_bytes(&mut value, 1, text.as_bytes()),
        Attribute::Task(task) => put_bytes(&mut value, 1, texts.task(task).as_bytes()),
        Attribute::Digest(digest) => put_bytes(&mut value, 1, texts.digest(digest).as_bytes()),
        Attribute::State(state) => put_bytes(&mut value, 1, state.to_string().as_bytes()),
        Attribute::Flag(flag) => put_number(&mut value, 2, flag.into()),
        Attribute::Number(number) => put_number(&mut value, 3, number as u64),
    }
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &value);
    put_bytes(span, 9, &pair);
    (texts.pair, texts.value) = (pair, value);
}

/// The texts of ids, made once, and buffers kept for their memory.
#[derive(Default)]
struct Texts {
    digests: HashMap<Digest, Box<str>>,
    /// The steps of a task mostly come one after the other.
    task: Option<TaskId>,
    task_text: String,
    pair: Vec<u8>,
    value: Vec<u8>,
}

impl Texts {
    fn task(&mut self, task: TaskId) -> &str {
        if self.task != Some(task) {
            self.task = Some(task);
            self.task_text.clear();
            write!(self.task_text, "{task}").expect("writing to a string does not fail");
        }
        &self.task_text
    }

    fn digest(&mut self, digest: Digest) -> &str {
        if self.digests.len() >= DIGEST_TEXTS_MAX && !self.digests.contains_key(&digest) {
            self.digests.clear();
        }
        self.digests
            .entry(digest)
            .or_insert_with(|| digest.to_string().into())
    }
}

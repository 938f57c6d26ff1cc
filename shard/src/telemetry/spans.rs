//! Encodes records as OTLP spans, straight from the record: by way of the OpenTelemetry SDK's own types
//! a task's six spans cost four times as much.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours, version
//! 1.x: <https://github.com/open-telemetry/opentelemetry-proto>.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use vyr_core::digest::Digest;
use vyr_core::id::TaskId;
use vyr_core::trace::{Attribute, Record, Step};

use super::protobuf::{put_bytes, put_fixed32, put_fixed64, put_head, put_number};
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
    /// The request that is being made: room for its head, then `ScopeSpans.spans`, as fields.
    request: Vec<u8>,
    /// Spans in it.
    count: usize,
    /// The memory of a request that was sent.
    spare: Vec<u8>,
    /// One span; kept for its memory.
    span: Vec<u8>,
    texts: Texts,
}

/// A request that is ready to be sent.
pub(super) struct SpanBatch {
    /// The spans in it.
    pub(super) count: usize,
    request: Request,
}

#[derive(Clone)]
struct Request {
    bytes: Arc<Vec<u8>>,
    /// Where it begins.
    start: usize,
}

impl AsRef<[u8]> for Request {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl SpanBatch {
    /// What is sent.
    pub(super) fn request(&self) -> Bytes {
        Bytes::from_owner(self.request.clone())
    }
}

/// Bytes of the heads of two messages, one in the other, without what is in them.
const HEADS_BYTES_MAX: usize = 40;

impl Spans {
    pub(super) fn new(resource: &Resource) -> Self {
        let (mut resource_field, mut scope_field) = (Vec::new(), Vec::new());
        put_bytes(&mut resource_field, 1, &resource.encode_to_vec());
        put_bytes(&mut scope_field, 1, &scope().encode_to_vec());
        Self {
            resource: resource_field,
            scope: scope_field,
            request: Vec::new(),
            count: 0,
            spare: Vec::new(),
            span: Vec::new(),
            texts: Texts::default(),
        }
    }

    /// Spans in the request that is being made.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a span to it.
    pub(super) fn add(&mut self, record: &Record) {
        if self.count == 0 {
            self.request.resize(self.head_room(), 0);
        }
        self.span.clear();
        encode(&mut self.span, record, &mut self.texts);
        put_bytes(&mut self.request, 2, &self.span);
        self.count += 1;
    }

    /// Ends the request and begins the next. The lengths that stand before the spans are known only now, so
    /// they are written into the room that was left for them: the spans are not copied.
    pub(super) fn finish(&mut self) -> SpanBatch {
        let room = self.head_room();
        let spans_bytes = self.request.len().saturating_sub(room);
        let mut scope_head = Vec::with_capacity(room);
        put_head(&mut scope_head, 2, self.scope.len() + spans_bytes);
        scope_head.extend_from_slice(&self.scope);
        let mut head = Vec::with_capacity(room);
        let resource_bytes = self.resource.len() + scope_head.len() + spans_bytes;
        put_head(&mut head, 1, resource_bytes);
        head.extend_from_slice(&self.resource);
        head.extend_from_slice(&scope_head);
        let start = room - head.len();
        let mut bytes = std::mem::replace(&mut self.request, std::mem::take(&mut self.spare));
        bytes[start..room].copy_from_slice(&head);
        SpanBatch {
            count: std::mem::take(&mut self.count),
            request: Request {
                bytes: Arc::new(bytes),
                start,
            },
        }
    }

    /// Takes the memory of a request that was sent, for another one.
    pub(super) fn recycle(&mut self, batch: SpanBatch) {
        // Whoever sent it may still hold it; then it is let go of.
        if let Some(bytes) = Arc::into_inner(batch.request.bytes) {
            self.spare = bytes;
            self.spare.clear();
        }
    }

    /// The request with these `ScopeSpans`, or `ScopeLogs`: what is around them has the same shape.
    pub(super) fn request_of(&self, scopes: &[u8]) -> Bytes {
        let resource_spans = [&self.resource, scopes].concat();
        let mut request = Vec::with_capacity(resource_spans.len() + HEADS_BYTES_MAX);
        put_bytes(&mut request, 1, &resource_spans);
        request.into()
    }

    fn head_room(&self) -> usize {
        self.resource.len() + self.scope.len() + HEADS_BYTES_MAX
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
    if record.is_error() {
        // `Status`: the message, if there is one, then the code.
        let failure = record.failure().unwrap_or_default();
        let mut status = Vec::with_capacity(failure.len() + 4);
        if !failure.is_empty() {
            put_bytes(&mut status, 2, failure.as_bytes());
        }
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

//! A record as a span of OTLP/JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use serde::Serialize;
use serde_json::{Value, json};
use vyr_core::id::ShardNumber;
use vyr_core::trace::{Attribute, Record, Step};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Pair {
    key: &'static str,
    value: Value,
}

#[derive(Serialize)]
struct Status {
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// OTLP's number of the status *error*.
const ERROR: u8 = 2;

/// One span, on one line. Those that stand alone here have the attributes that exported ones share, the shard's
/// number and the artifact's digest, and say which step they are: guests choose the names of their own.
pub(crate) fn span_json(record: &Record, shard: ShardNumber) -> String {
    let mut attributes = vec![
        Pair {
            key: "vyr.shard",
            value: value(Attribute::Number(shard.0.into())),
        },
        Pair {
            key: "vyr.step",
            value: value(Attribute::Text(record.step.as_str())),
        },
    ];
    if let Some(digest) = record.artifact.filter(|_| record.step != Step::Task) {
        attributes.push(Pair {
            key: "vyr.artifact.digest",
            value: value(Attribute::Digest(digest)),
        });
    }
    record.attributes(|key, attribute| {
        attributes.push(Pair {
            key,
            value: value(attribute),
        });
    });
    let end_unix_ns = record.start_unix_ns.saturating_add(record.duration_ns);
    let span = Span {
        trace_id: record.trace_id.to_string(),
        span_id: record.span_id.to_string(),
        parent_span_id: record.parent.map(|parent| parent.to_string()),
        name: record.name(),
        kind: record.span_kind() as u8,
        start_time_unix_nano: record.start_unix_ns.to_string(),
        end_time_unix_nano: end_unix_ns.to_string(),
        attributes,
        status: record.is_error().then(|| Status {
            code: ERROR,
            message: record.failure(),
        }),
    };
    serde_json::to_string(&span).expect("a plain document serialises")
}

fn value(attribute: Attribute<'_>) -> Value {
    match attribute {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
        Attribute::Flag(flag) => json!({ "boolValue": flag }),
        Attribute::Task(id) => json!({ "stringValue": id.to_string() }),
        Attribute::State(id) => json!({ "stringValue": id.to_string() }),
        Attribute::Digest(digest) => json!({ "stringValue": digest.to_string() }),
    }
}

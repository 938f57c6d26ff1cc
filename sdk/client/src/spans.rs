//! A span as `GET /v0/traces` sends it: OTLP's JSON encoding, as far as clients need it.

use serde::{Deserialize, Serialize};
use vyr_core::id::TaskId;

/// A finished step of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// The trace, 32 hex digits.
    pub trace_id: String,
    /// The span, 16 hex digits.
    pub span_id: String,
    /// The span that it is a part of; none at a root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_span_id: Option<String>,
    /// What was done.
    pub name: String,
    /// OTLP's number of the span's kind.
    #[serde(default)]
    pub kind: u8,
    /// When it began, nanoseconds since the Unix epoch.
    #[serde(rename = "startTimeUnixNano", with = "decimal")]
    pub start_unix_ns: u64,
    /// When it ended, nanoseconds since the Unix epoch.
    #[serde(rename = "endTimeUnixNano", with = "decimal")]
    pub end_unix_ns: u64,
    /// What is known of it.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// How it ended; absent when that is not known to be wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<SpanStatus>,
}

/// OTLP's number for a call to another service.
const KIND_CLIENT: u8 = 3;
/// OTLP's number for a span that failed.
const STATUS_ERROR: u8 = 2;

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// The name.
    pub key: String,
    /// OTLP's `AnyValue`: an object with one field, which names its type.
    pub value: serde_json::Value,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanStatus {
    /// OTLP's number: 2 is an error.
    #[serde(default)]
    pub code: u8,
    /// What went wrong: for VYR's own spans a stable code. Empty when a response's status says it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
}

impl Span {
    /// How long it took, nanoseconds.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// The task it is a step of.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.text("vyr.task.id")?.parse().ok()
    }

    /// Which step of the task it is: `task` for the whole, `queue`, `execute` and so on, and `guest` for a span of
    /// the guest's own, whatever its name.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        self.text("vyr.step")
    }

    /// Whether it is the whole of a task; it comes last of the task's spans.
    #[must_use]
    pub fn is_task(&self) -> bool {
        self.step() == Some("task")
    }

    /// Whether it is a call to another service.
    #[must_use]
    pub fn is_outgoing(&self) -> bool {
        self.kind == KIND_CLIENT
    }

    /// What went wrong, when something did: a stable code, or the HTTP status that says it; may be empty.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        let status = self.status.as_ref()?;
        let error = match status.message.as_str() {
            "" => self.text("error.type").unwrap_or_default(),
            message => message,
        };
        (status.code == STATUS_ERROR).then_some(error)
    }

    /// An attribute that is a text, or a whole number, which OTLP writes as a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let value = self.attribute(key)?;
        let text = value.get("stringValue").or_else(|| value.get("intValue"))?;
        text.as_str()
    }

    /// An attribute that is true or false.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.attribute(key)?.get("boolValue")?.as_bool()
    }

    fn attribute(&self, key: &str) -> Option<&serde_json::Value> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|attribute| attribute.key == key)?;
        Some(&found.value)
    }
}

/// OTLP's JSON writes 64-bit integers as texts; readers must take numbers as well.
mod decimal {
    use std::fmt;

    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Decimal)
    }

    struct Decimal;

    impl Visitor<'_> for Decimal {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number, or a text that is one")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse()
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_as_otlp_writes_it_and_back() {
        let text = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7","name":"task","kind":5,"startTimeUnixNano":"1700000000000000001","endTimeUnixNano":"1700000000000500001","attributes":[{"key":"vyr.step","value":{"stringValue":"task"}},{"key":"vyr.task.status","value":{"stringValue":"failed"}},{"key":"vyr.shard","value":{"intValue":"1"}},{"key":"faas.coldstart","value":{"boolValue":true}}],"status":{"code":2,"message":"guest_trap"}}"#;
        let span: Span = serde_json::from_str(text).expect("a span");
        assert_eq!(span.duration_ns(), 500_000);
        assert_eq!(span.start_unix_ns, 1_700_000_000_000_000_001, "not rounded");
        assert_eq!(span.text("vyr.shard"), Some("1"));
        assert_eq!(span.flag("faas.coldstart"), Some(true));
        assert_eq!(span.error(), Some("guest_trap"));
        assert!(span.is_task() && !span.is_outgoing());
        let guests = text.replace("\"stringValue\":\"task\"", "\"stringValue\":\"guest\"");
        let guests: Span = serde_json::from_str(&guests).expect("a span");
        assert!(
            guests.name == "task" && !guests.is_task(),
            "a guest's of that name"
        );
        assert_eq!(serde_json::to_string(&span).expect("JSON"), text);
    }

    #[test]
    fn times_may_be_numbers_and_most_fields_absent() {
        let text = r#"{"traceId":"a","spanId":"b","name":"GET","kind":3,"startTimeUnixNano":5,"endTimeUnixNano":"3","links":[]}"#;
        let span: Span = serde_json::from_str(text).expect("a span");
        assert_eq!(span.duration_ns(), 0, "a clock that was set back");
        assert!(span.is_outgoing() && span.error().is_none() && span.task().is_none());
        let wrong = text.replace("\"3\"", "\"soon\"");
        assert!(serde_json::from_str::<Span>(&wrong).is_err());
    }
}

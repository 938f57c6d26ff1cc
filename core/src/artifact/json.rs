//! Canonical JSON: one text for one value, so that digests are reproducible.
//!
//! The subset of RFC 8785 that our documents need: keys sorted, no whitespace, integers and ASCII
//! keys only. (RFC 8785 sorts by UTF-16 code units; for ASCII keys that is byte order.)

use serde::Serialize;
use serde_json::{Map, Value};

/// The canonical text of a document.
///
/// # Panics
/// When the document does not serialise; ours are plain structs with text keys, which always do.
pub(crate) fn canonical(document: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_value(document).expect("a plain document serialises");
    serde_json::to_vec(&sorted(value)).expect("a value serialises")
}

/// Sorts explicitly: whether `serde_json`'s map does so by itself depends on a feature that any
/// other crate of the build may switch off.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, sorted(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Value =
            serde_json::from_str(r#"{ "b": [ {"d": 1, "c": "é"} ], "a": null }"#).expect("JSON");
        let text = String::from_utf8(canonical(&value)).expect("UTF-8");
        assert_eq!(text, r#"{"a":null,"b":[{"c":"é","d":1}]}"#);
    }
}

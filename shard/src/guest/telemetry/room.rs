//! Cuts what a guest hands over to the size of one event, and makes OTLP's values of its JSON.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue as Pair, KeyValueList, any_value::Value,
};
use vyr_core::limits::GUEST_EVENT_BYTES_MAX;

use super::bindings::wasi::otel::types::{InstrumentationScope as GivenScope, KeyValue};

/// What an attribute, event or link counts besides its texts, bytes.
const ITEM_BYTES: usize = 32;
/// Lists and objects inside each other in one attribute. Collectors refuse requests that are nested too
/// deep, and with them the events of other tasks.
const DEPTH_MAX: usize = 8;

/// How the names of attributes begin that only VYR gives.
const RESERVED_PREFIX: &str = "vyr.";

/// What is left of the room for one event.
pub(super) struct Room {
    bytes: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            bytes: GUEST_EVENT_BYTES_MAX,
        }
    }

    /// The text, cut if there is no room for all of it.
    pub(super) fn text(&mut self, mut text: String) -> String {
        if text.len() > self.bytes {
            text.truncate(text.floor_char_boundary(self.bytes));
        }
        self.bytes -= text.len();
        text
    }

    /// Takes room for an item with texts of so many bytes, if there is as much.
    pub(super) fn item(&mut self, text_bytes: usize) -> bool {
        let left = self
            .bytes
            .checked_sub(text_bytes.saturating_add(ITEM_BYTES));
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    /// Those for which there is room, and which do not claim to be VYR's; the others are counted.
    pub(super) fn attributes(&mut self, given: Vec<KeyValue>, dropped: &mut u32) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for KeyValue { key, value } in given {
            let is_own = !key.starts_with(RESERVED_PREFIX);
            if is_own && self.item(key.len().saturating_add(value.len())) {
                pairs.push(pair(key, any_value(&value)));
            } else {
                *dropped = dropped.saturating_add(1);
            }
        }
        pairs
    }

    pub(super) fn scope(&mut self, given: GivenScope) -> InstrumentationScope {
        let mut dropped = 0;
        InstrumentationScope {
            name: self.text(given.name),
            version: self.text(given.version.unwrap_or_default()),
            attributes: self.attributes(given.attributes, &mut dropped),
            dropped_attributes_count: dropped,
        }
    }
}

pub(super) fn pair(key: String, value: AnyValue) -> Pair {
    Pair {
        key,
        value: Some(value),
        ..Pair::default()
    }
}

pub(super) fn text_value(text: String) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text)),
    }
}

/// The value that the JSON stands for; what is no JSON, or nested too deep, is a text.
pub(super) fn any_value(json: &str) -> AnyValue {
    let value = serde_json::from_str(json).ok();
    let value = value.and_then(|value| converted(value, DEPTH_MAX));
    value.unwrap_or_else(|| text_value(json.to_owned()))
}

fn converted(json: serde_json::Value, depth: usize) -> Option<AnyValue> {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => None,
        Json::Bool(flag) => Some(Value::BoolValue(flag)),
        Json::Number(number) => Some(match number.as_i64() {
            Some(whole) => Value::IntValue(whole),
            None => Value::DoubleValue(number.as_f64()?),
        }),
        Json::String(text) => Some(Value::StringValue(text)),
        Json::Array(items) => {
            let depth = depth.checked_sub(1)?;
            let values = items.into_iter().map(|item| converted(item, depth));
            let values = values.collect::<Option<_>>()?;
            Some(Value::ArrayValue(ArrayValue { values }))
        }
        Json::Object(fields) => {
            let depth = depth.checked_sub(1)?;
            let fields = fields.into_iter();
            let values = fields.map(|(key, field)| Some(pair(key, converted(field, depth)?)));
            let values = values.collect::<Option<_>>()?;
            Some(Value::KvlistValue(KeyValueList { values }))
        }
    };
    Some(AnyValue { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: value.into(),
        }
    }

    #[test]
    fn json_becomes_the_value_it_stands_for() {
        let value = |json| any_value(json).value;
        assert_eq!(value("true"), Some(Value::BoolValue(true)));
        assert_eq!(value("-7"), Some(Value::IntValue(-7)));
        assert_eq!(value("0.5"), Some(Value::DoubleValue(0.5)));
        assert_eq!(value("\"a\\n\""), Some(Value::StringValue("a\n".into())));
        assert_eq!(value("plain"), Some(Value::StringValue("plain".into())));
        assert_eq!(value("null"), None);
        let Some(Value::ArrayValue(list)) = value("[1,{\"a\":[]}]") else {
            panic!("a list");
        };
        assert_eq!(list.values.len(), 2);
    }

    #[test]
    fn what_is_nested_too_deep_stays_a_text() {
        let nested = |depth: usize| any_value(&("[".repeat(depth) + &"]".repeat(depth))).value;
        assert!(matches!(nested(DEPTH_MAX), Some(Value::ArrayValue(_))));
        for depth in [DEPTH_MAX + 1, 1000, 100_000] {
            assert!(matches!(nested(depth), Some(Value::StringValue(_))));
        }
    }

    #[test]
    fn attributes_that_only_vyr_gives_are_not_taken_and_counted() {
        let mut dropped = 0;
        let pairs = vec![
            given("vyr.task.id", "1"),
            given("vyrtual", "1"),
            given("vyr.x", "1"),
        ];
        let pairs = Room::new().attributes(pairs, &mut dropped);
        let keys: Vec<_> = pairs.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!((keys, dropped), (vec!["vyrtual"], 2));
    }

    #[test]
    fn what_has_no_room_is_cut_or_counted() {
        let mut room = Room::new();
        let mut dropped = 0;
        let large = "1".repeat(GUEST_EVENT_BYTES_MAX);
        let pairs = room.attributes(vec![given("a", "1"), given("b", &large)], &mut dropped);
        assert_eq!((pairs.len(), dropped), (1, 1));
        let text = room.text("ü".repeat(GUEST_EVENT_BYTES_MAX));
        assert!(text.len() < GUEST_EVENT_BYTES_MAX && text.ends_with('ü'));
        let many = (0..5000).map(|_| given("", "")).collect();
        let pairs = Room::new().attributes(many, &mut dropped);
        assert_eq!(pairs.len(), GUEST_EVENT_BYTES_MAX / ITEM_BYTES);
        assert_eq!(pairs.len() + dropped as usize, 5001);
    }
}

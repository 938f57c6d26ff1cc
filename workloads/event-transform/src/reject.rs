//! Why an event was rejected: the stable codes of dead letters and the sentences that go with them.

use crate::event::{FIELDS, Field};
use crate::limits::{JSON_DEPTH_MAX, LINE_BYTES_MAX};

/// A reason with the field it is about, if it is about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    pub(crate) field: Option<Field>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, field: None }
    }
}

/// The stable codes, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    LineTooLong,
    LineEmpty,
    Utf8Invalid,
    JsonInvalid,
    NotObject,
    NotCloudevent,
    FieldMissing,
    FieldType,
    FieldRange,
    FieldFormat,
    TimeImpossible,
    DateImpossible,
    CarrierUnknown,
    AirportUnknown,
    RouteInvalid,
    NullsInconsistent,
    TimeInconsistent,
}

impl Reason {
    /// The code that users match on.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::LineEmpty => "line_empty",
            Self::Utf8Invalid => "utf8_invalid",
            Self::JsonInvalid => "json_invalid",
            Self::NotObject => "not_object",
            Self::NotCloudevent => "not_cloudevent",
            Self::FieldMissing => "field_missing",
            Self::FieldType => "field_type",
            Self::FieldRange => "field_range",
            Self::FieldFormat => "field_format",
            Self::TimeImpossible => "time_impossible",
            Self::DateImpossible => "date_impossible",
            Self::CarrierUnknown => "carrier_unknown",
            Self::AirportUnknown => "airport_unknown",
            Self::RouteInvalid => "route_invalid",
            Self::NullsInconsistent => "nulls_inconsistent",
            Self::TimeInconsistent => "time_inconsistent",
        }
    }
}

impl Rejection {
    /// The field's name, if the rejection is about one.
    pub(crate) fn field_name(&self) -> Option<&'static str> {
        self.field.map(|field| FIELDS[field as usize].name)
    }

    /// One sentence for a reader. It has no characters that JSON must escape.
    pub(crate) fn text(&self) -> String {
        let name = self.field_name().unwrap_or_default();
        let wanted = self.field.map_or("", |field| FIELDS[field as usize].wanted);
        match self.reason {
            Reason::LineTooLong => format!("the line is longer than {LINE_BYTES_MAX} bytes"),
            Reason::LineEmpty => "the line is empty".to_owned(),
            Reason::Utf8Invalid => "the line is not UTF-8".to_owned(),
            Reason::JsonInvalid => format!(
                "the line is not JSON (RFC 8259) or is nested deeper than {JSON_DEPTH_MAX} levels"
            ),
            Reason::NotObject => "the line is JSON but not an object".to_owned(),
            Reason::NotCloudevent => {
                "the element is not a CloudEvent 1.0 with the event in data".to_owned()
            }
            Reason::FieldMissing => format!("{name} is missing"),
            Reason::FieldType | Reason::FieldRange | Reason::FieldFormat => {
                format!("{name} must be {wanted}")
            }
            Reason::TimeImpossible => format!("{name} is not a time of day"),
            Reason::DateImpossible => "the month has no such day".to_owned(),
            Reason::CarrierUnknown => "carrier is not in the airline table".to_owned(),
            Reason::AirportUnknown => format!("{name} is not in the airport table"),
            Reason::RouteInvalid => "origin and dest are the same airport".to_owned(),
            Reason::NullsInconsistent => {
                format!("{name} is null where it must not be, or is not null where it must be")
            }
            Reason::TimeInconsistent => format!("{name} contradicts the other times"),
        }
    }
}

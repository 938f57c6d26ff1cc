//! One step of a task, of bounded size, as a waterfall shows it.

use vyr_client::Span;

use crate::commands::figures::printable;

/// The most characters that are kept of a name or an error: guests choose the names of their spans.
const TEXT_CHARACTERS_MAX: usize = 64;

/// A finished step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    id: String,
    parent: Option<String>,
    /// What was done.
    pub(crate) name: String,
    /// Whether the guest recorded it, whatever its name.
    is_guests: bool,
    /// When it began, nanoseconds since the Unix epoch.
    pub(crate) start_unix_ns: u64,
    /// When it ended, nanoseconds since the Unix epoch.
    pub(crate) end_unix_ns: u64,
    /// Whether it is a call to another service.
    pub(crate) is_outgoing: bool,
    /// What went wrong, when something did.
    pub(crate) error: Option<String>,
}

impl Step {
    /// The step of a span.
    pub(crate) fn of(span: &Span) -> Self {
        Self {
            id: shortened(&span.span_id),
            parent: span.parent_span_id.as_deref().map(shortened),
            name: shortened(&span.name),
            is_guests: span.step() == Some("guest"),
            start_unix_ns: span.start_unix_ns,
            end_unix_ns: span.end_unix_ns.max(span.start_unix_ns),
            is_outgoing: span.is_outgoing(),
            error: span.error().map(shortened),
        }
    }

    /// The name of the step of VYR's that it is; none of a guest's.
    pub(crate) fn own_name(&self) -> Option<&str> {
        (!self.is_guests).then_some(self.name.as_str())
    }

    /// How long it took, nanoseconds.
    pub(crate) fn duration_ns(&self) -> u64 {
        self.end_unix_ns - self.start_unix_ns
    }

    /// Whether both are the same span.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Whether this step is the one that `other` is a part of.
    pub(super) fn is_parent_of(&self, other: &Self) -> bool {
        other.parent.as_ref() == Some(&self.id)
    }
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
    printable(&short)
}

//! What only some spans have, in fixed size.

use std::fmt;

use crate::id::StateId;

/// What only spans of one step have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// The request and response of an HTTP task, or of a guest's call.
    Exchange(Exchange),
    /// The state that was bound.
    Bind {
        /// The state.
        state: StateId,
        /// The name under which the guest opens it.
        name: ShortText,
    },
    /// A span of the guest's own.
    Guest {
        /// Its name.
        name: ShortText,
    },
}

/// A request and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The request's method.
    pub method: Method,
    /// The response's status; 0 when there was none.
    pub status: u16,
    /// The host that was called; for the request of a task its path, as the guest sees it.
    pub target: ShortText,
    /// The port that was called; 0 for the request of a task.
    pub port: u16,
    /// Whether it was sent over TLS.
    pub is_tls: bool,
    /// Why there was no response, in a word that does not change.
    pub failure: Option<&'static str>,
}

impl Exchange {
    /// The exchange of an HTTP task, before its response.
    #[must_use]
    pub fn received(method: Method, path: &str) -> Self {
        Self {
            method,
            status: 0,
            target: ShortText::new(path),
            port: 0,
            is_tls: false,
            failure: None,
        }
    }
}

/// A request's method, as far as telemetry tells methods apart (OpenTelemetry's
/// `http.request.method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "they are HTTP's own names")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// One that HTTP does not define.
    #[default]
    Other,
}

impl Method {
    const ALL: [Self; 10] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Patch,
        Self::Other,
    ];

    /// The method of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|method| method.as_str() == name);
        found.unwrap_or(Self::Other)
    }

    /// Its name; `_OTHER`, as OpenTelemetry wants it, for one that HTTP does not define.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "_OTHER",
        }
    }
}

/// Longest [`ShortText`], bytes.
const SHORT_TEXT_BYTES_MAX: usize = 38;

/// A text in fixed size. What is longer is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    length: u8,
    bytes: [u8; SHORT_TEXT_BYTES_MAX],
}

impl ShortText {
    /// The text, cut at the last whole character that fits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let cut = text.floor_char_boundary(SHORT_TEXT_BYTES_MAX);
        let mut bytes = [0; SHORT_TEXT_BYTES_MAX];
        bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        Self {
            length: cut as u8,
            bytes,
        }
    }

    /// A number's decimal digits.
    #[must_use]
    pub fn of_number(number: u16) -> Self {
        let mut digits = Self::default();
        let mut place = 10_000;
        while place > 0 {
            if number >= place || place == 1 {
                digits.bytes[usize::from(digits.length)] = b'0' + (number / place % 10) as u8;
                digits.length += 1;
            }
            place /= 10;
        }
        digits
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(ShortText::new("short").as_str(), "short");
        let long = format!("{}äö", "x".repeat(SHORT_TEXT_BYTES_MAX - 1));
        assert_eq!(
            ShortText::new(&long).as_str(),
            "x".repeat(SHORT_TEXT_BYTES_MAX - 1)
        );
    }

    #[test]
    fn a_number_is_its_digits() {
        for number in [0, 7, 10, 404, 503, 1000, u16::MAX] {
            assert_eq!(ShortText::of_number(number).as_str(), number.to_string());
        }
    }

    #[test]
    fn methods_are_those_of_http() {
        assert_eq!(Method::of("PATCH"), Method::Patch);
        assert_eq!(Method::of("get").as_str(), "_OTHER");
    }
}

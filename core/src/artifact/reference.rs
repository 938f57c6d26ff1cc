//! How a client says which artifact it means.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, shortened};
use super::name::{Name, Tag, name_and_tag};
use crate::digest::Digest;

/// Fewest hex digits of a digest prefix.
const PREFIX_DIGITS_MIN: usize = 8;
/// Hex digits of a whole digest.
const DIGEST_DIGITS: usize = 64;
const ALGORITHM: &str = "sha256:";

/// A digest, a prefix of one, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Exactly this artifact.
    Digest(Digest),
    /// The one artifact whose digest begins so: 8 or more hex digits, with or without `sha256:`,
    /// kept as written. Without `sha256:` it may also be a name made of hex digits, which is tried
    /// when no digest fits.
    Prefix(String),
    /// The artifact that has this name now.
    Name(Name, Tag),
}

impl Reference {
    /// The hex digits of a prefix.
    pub(crate) fn prefix_digits(text: &str) -> &str {
        text.strip_prefix(ALGORITHM).unwrap_or(text)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Reference {
            text: shortened(text),
            reason: reason.into(),
        };
        let explicit = text.starts_with(ALGORITHM);
        let digits = Self::prefix_digits(text);
        let is_hex = digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match digits.len() {
            DIGEST_DIGITS if is_hex => format!("{ALGORITHM}{digits}")
                .parse()
                .map(Self::Digest)
                .map_err(|_| refuse("it is not a digest")),
            PREFIX_DIGITS_MIN..DIGEST_DIGITS if is_hex => Ok(Self::Prefix(text.into())),
            _ if explicit => Err(refuse(
                "after 'sha256:' stand 8 to 64 lower-case hex digits",
            )),
            _ => name_and_tag(text)
                .map(|(name, tag)| Self::Name(name, tag))
                .map_err(|error| match error {
                    Error::Name { reason, .. } => refuse(&reason),
                    other => other,
                }),
        }
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Prefix(prefix) => f.pad(prefix),
            Self::Name(name, tag) => write!(f, "{name}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_is_told_from_the_others() {
        let digest = Digest::of(b"x");
        let parse = |text: &str| text.parse::<Reference>().expect(text);
        let named = |text: &str| {
            let (name, tag) = name_and_tag(text).expect("a name");
            Reference::Name(name, tag)
        };
        assert_eq!(parse(&digest.to_string()), Reference::Digest(digest));
        assert_eq!(parse(&digest.hex()), Reference::Digest(digest));
        assert_eq!(parse("deadbeef"), Reference::Prefix("deadbeef".into()));
        assert_eq!(
            parse("sha256:deadbeef0"),
            Reference::Prefix("sha256:deadbeef0".into())
        );
        assert_eq!(parse("deadbee"), named("deadbee"));
        assert_eq!(parse("deadbeef:1"), named("deadbeef:1"));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("sha256:{}", "0".repeat(65));
        for text in [
            "",
            "sha256:",
            "sha256:abc",
            "sha256:DEADBEEF",
            "Hello",
            "a/../b",
            &long,
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains("NAME[:TAG]"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(text in "(sha256:)?[0-9a-f]{8,66}|[a-z0-9]{1,9}([._/-][a-z0-9]{1,9}){0,3}(:[A-Z0-9]{1,4})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().expect("its own text");
                prop_assert_eq!(again, reference);
            } else {
                let explicit = text.starts_with(ALGORITHM);
                prop_assert!(explicit, "only digests of a wrong length are refused: {}", text);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            let _ = text.parse::<Reference>();
        }
    }
}

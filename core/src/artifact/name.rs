//! Names, tags and references of artifacts.

use std::fmt;
use std::str::FromStr;

use super::Error;
use crate::digest::Digest;
use crate::limits::NAME_BYTES_MAX;

/// Fewest hex digits that stand for a digest.
const PREFIX_DIGITS_MIN: usize = 8;

/// An artifact's name: lower-case letters, digits, `.`, `_`, `-` and `/`, beginning and ending with
/// a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A name's tag: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Default for Tag {
    fn default() -> Self {
        Self("latest".into())
    }
}

/// What names an artifact on the command line and in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The whole digest.
    Digest(Digest),
    /// The first hex digits of a digest; if none fits, a name of the same letters.
    Prefix(String),
    /// A name with its tag.
    Name(Name, Tag),
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = |byte: &u8| edge(byte) || b"._-/".contains(byte);
        let bytes = text.as_bytes();
        let fits = (1..=NAME_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(inner)
            && bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && !text.contains("//");
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::NameInvalid(format!(
            "'{}' is not an artifact name; use up to {NAME_BYTES_MAX} lower-case letters, digits and inner . _ - /",
            shorten(text)
        )))
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !text.starts_with(['.', '-']);
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::NameInvalid(format!(
            "'{}' is not a tag; use up to {NAME_BYTES_MAX} letters, digits, . _ -",
            shorten(text)
        )))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Splits `NAME[:TAG]`.
pub(super) fn name_and_tag(text: &str) -> Result<(Name, Tag), Error> {
    match text.split_once(':') {
        Some((name, tag)) => Ok((name.parse()?, tag.parse()?)),
        None => Ok((text.parse()?, Tag::default())),
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (PREFIX_DIGITS_MIN..=64).contains(&digits.len()) {
            if let Ok(digest) = format!("sha256:{digits}").parse() {
                return Ok(Self::Digest(digest));
            }
            return Ok(Self::Prefix(digits.to_owned()));
        }
        if text.starts_with("sha256:") {
            return Err(Error::NameInvalid(format!(
                "'{}' is not a digest; give 'sha256:' and {PREFIX_DIGITS_MIN} to 64 lower-case hex digits",
                shorten(text)
            )));
        }
        let (name, tag) = name_and_tag(text)?;
        Ok(Self::Name(name, tag))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Prefix(digits) => f.write_str(digits),
            Self::Name(name, tag) => write!(f, "{name}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart() {
        let digest = Digest::of(b"x");
        let of = |text: &str| text.parse::<Reference>();
        assert_eq!(
            of(&digest.to_string()).expect("a digest"),
            Reference::Digest(digest)
        );
        assert_eq!(
            of(&digest.hex()).expect("64 digits"),
            Reference::Digest(digest)
        );
        assert_eq!(
            of("0123abcd").expect("8 digits"),
            Reference::Prefix("0123abcd".into())
        );
        assert!(matches!(
            of("0123abc").expect("a name"),
            Reference::Name(..)
        ));
        assert_eq!(
            of("team/hello:1.0").expect("a name").to_string(),
            "team/hello:1.0"
        );
        assert_eq!(of("hello").expect("a name").to_string(), "hello:latest");
        for text in [
            "",
            "Hello",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "a:",
            ":b",
            "sha256:xyz",
            "a b",
            "é",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
        assert!(of(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }
}

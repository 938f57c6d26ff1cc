//! Names of artifacts: `NAME:TAG`, a subset of what OCI allows in `org.opencontainers.image.ref.name`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::error::{Error, shortened};
use crate::limits::NAME_BYTES_MAX;

/// The first word of a digest, which is no name.
const DIGEST_WORD: &str = "sha256";

/// A name without a tag: lower-case letters and digits in groups, between which stands one of
/// `.`, `_`, `-`, `/`. At most [`NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A tag: letters and digits in groups, between which stands one of `.`, `_`, `-`. At most
/// [`NAME_BYTES_MAX`] bytes. The default is `latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Cow<'static, str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tag {
    fn default() -> Self {
        Self(Cow::Borrowed("latest"))
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        check(
            text,
            is_word,
            b"._-/",
            "lower-case letters and digits, with one of . _ - / between",
        )
        .and_then(|()| match text {
            DIGEST_WORD => Err("it begins a digest; a digest is 'sha256:' and hex digits".into()),
            _ => Ok(Self(text.into())),
        })
        .map_err(|reason| Error::Name {
            text: shortened(text),
            reason,
        })
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        check(
            text,
            |byte| byte.is_ascii_alphanumeric(),
            b"._-",
            "letters and digits, with one of . _ - between",
        )
        .map(|()| Self(Cow::Owned(text.into())))
        .map_err(|reason| Error::Name {
            text: shortened(text),
            reason: format!("as a tag, {reason}"),
        })
    }
}

/// Reads `NAME` or `NAME:TAG`.
pub(crate) fn name_and_tag(text: &str) -> Result<(Name, Tag), Error> {
    match text.split_once(':') {
        None => Ok((text.parse()?, Tag::default())),
        Some((name, tag)) => Ok((name.parse()?, tag.parse()?)),
    }
}

/// `NAME:TAG`, as an index holds it; the same for every way of writing it.
pub(crate) fn ref_name(name: &Name, tag: &Tag) -> String {
    [name.as_str(), ":", tag.as_str()].concat()
}

/// Words of `is_word` bytes with single separators between; the reason if it is something else.
fn check(
    text: &str,
    is_word: impl Fn(u8) -> bool,
    separators: &[u8],
    rule: &str,
) -> Result<(), String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!(
            "it has {} bytes, the bound is {NAME_BYTES_MAX}",
            text.len()
        ));
    }
    let mut after_word = false;
    for byte in text.bytes() {
        let word = is_word(byte);
        let separator = after_word && separators.contains(&byte);
        if !word && !separator {
            return Err(format!("use {rule}"));
        }
        after_word = word;
    }
    if after_word {
        Ok(())
    } else {
        Err(format!("use {rule}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_oci_tools_take_are_taken() {
        for text in ["a", "hello", "ghcr.io/org/app", "event-transform_2", "0"] {
            assert_eq!(text.parse::<Name>().expect(text).to_string(), text);
        }
        let (name, tag) = name_and_tag("hello").expect("a name");
        assert_eq!(ref_name(&name, &tag), "hello:latest");
        let (_, tag) = name_and_tag("hello:V1.2-rc_3").expect("a name with a tag");
        assert_eq!(tag.as_str(), "V1.2-rc_3");
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let refused = [
            "", "A", "a//b", "/a", "a/", "../a", "a..b", "-a", "a-", "a b", "é", "a\0", "sha256",
            &long,
        ];
        for text in refused {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        for text in ["", "a:", ":a", "a:b:c", "a:b/c", "a:-b", "sha256:latest"] {
            assert!(name_and_tag(text).is_err(), "{text}");
        }
    }
}

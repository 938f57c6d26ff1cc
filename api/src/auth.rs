//! The bearer token of a node that listens beyond loopback.

use std::fs;
use std::io;
use std::path::Path;

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A secret that every request over TCP must carry.
#[derive(Clone)]
pub struct Token(String);

/// Shortest token accepted, bytes: short ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

impl Token {
    /// Reads the token from a file; white space around it is ignored.
    ///
    /// # Errors
    /// When the file cannot be read or what it holds is too short or no visible ASCII.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let token = text.trim();
        if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a token is at least {TOKEN_BYTES_MIN} visible ASCII characters"),
            ));
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether the request carries the token. Takes as long for a near miss as for any other.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, given)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && equal(given.trim().as_bytes(), self.0.as_bytes())
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |difference, (x, y)| difference | (x ^ y))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_admitted() {
        let token = Token("0123456789abcdef".into());
        let admits = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a header value"));
            }
            token.admits(&headers)
        };
        assert!(admits(&["Bearer 0123456789abcdef"]));
        assert!(admits(&["bearer 0123456789abcdef"]));
        assert!(!admits(&[]));
        assert!(!admits(&["Bearer 0123456789abcdeF"]));
        assert!(!admits(&["Bearer 0123456789abcde"]));
        assert!(!admits(&["Basic 0123456789abcdef"]));
        assert!(!admits(&["Bearer 0123456789abcdef", "Bearer x"]));
    }
}

//! Query parameters: decoded, each known, each once unless it may repeat.

use std::time::Duration;

use percent_encoding::percent_decode;

use crate::failure::Failure;

/// The decoded parameters of a request.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `query` (`application/x-www-form-urlencoded`), in which only `known` may appear.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Failure> {
        let mut pairs = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(Failure::invalid(format!(
                    "unknown query parameter '{name}'; this path takes {}",
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                )));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The values of a parameter that may repeat.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may stand once.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Failure> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(Failure::invalid(format!(
                "query parameter '{name}' stands more than once"
            )));
        }
        Ok(value)
    }

    /// The value, parsed.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error| Failure::invalid(format!("query parameter '{name}': {error}")))
    }

    /// A parameter that is `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.parsed::<bool>(name)?.unwrap_or(false))
    }

    /// A time such as `30s`, `500ms` or `2m`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        parse_duration(text).map(Some).ok_or_else(|| {
            Failure::invalid(format!(
                "query parameter '{name}' is '{text}'; give a number and ms, s, m or h, such as 30s"
            ))
        })
    }
}

fn decode(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Failure::invalid("the query is not UTF-8 after decoding"))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_each = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(millis_each)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_checked() {
        let query =
            Query::parse(Some("arg=a%20b&arg=c+d&wait=30s"), &["arg", "wait"]).expect("valid");
        assert_eq!(query.all("arg").collect::<Vec<_>>(), ["a b", "c d"]);
        assert_eq!(
            query.duration("wait").expect("valid"),
            Some(Duration::from_secs(30))
        );
        assert!(query.one("arg").is_err());
        assert!(Query::parse(Some("arg=1"), &[]).is_err());
        assert!(Query::parse(Some("a=%ff"), &["a"]).is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("5"), Some(Duration::from_secs(5)));
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}

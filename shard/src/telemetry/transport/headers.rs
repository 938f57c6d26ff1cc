//! Headers that the environment adds to every export, such as a collector's token.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::telemetry::config::ExporterError;

const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The headers of `OTEL_EXPORTER_OTLP_HEADERS`: `name=value` pairs with commas between, values
/// percent-encoded (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
pub(super) fn from_environment() -> Result<HeaderMap, ExporterError> {
    parse(&std::env::var(VARIABLE).unwrap_or_default())
}

fn parse(text: &str) -> Result<HeaderMap, ExporterError> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let header = || {
            let (name, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.trim()).ok()?, value))
        };
        // A value may be a secret, so only the name is told.
        let (name, value) = header().ok_or_else(|| ExporterError::Header {
            name: pair.split('=').next().unwrap_or_default().trim().to_owned(),
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let headers = parse("api-key=se%20cret, X-Other = a=b ,").expect("well formed");
        assert_eq!(headers["api-key"], "se cret");
        assert_eq!(headers["x-other"], "a=b");
        assert!(parse("").expect("nothing").is_empty());
    }

    #[test]
    fn a_bad_pair_is_named_without_its_value() {
        for (text, name) in [("token", "token"), ("a b=secret", "a b"), ("k=%00", "k")] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }
}

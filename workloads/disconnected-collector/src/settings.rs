//! The command line: what it says becomes values that need no further check.

use thiserror::Error;

use crate::limits::{BATCH_READINGS_MAX, DRAIN_SECONDS_MAX, RETRY_MS_MAX};

/// What `--help` says.
pub const USAGE: &str = "usage: disconnected-collector --upstream URL [options] <readings.ndjson
  --upstream URL      where batches are posted: http://host[:port]/path or https://...
  --bucket NAME       the key-value bucket that holds the readings (buffer)
  --batch-readings N  the most readings in one batch (100)
  --drain SECONDS     how long it goes on delivering after the end of input (30)
  --retry-ms-max MS   the longest pause before a batch is sent again (2000)
  --held-max N        stop reading while so many readings are held (no bound)
";

/// How the task was asked to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where batches are posted.
    pub upstream: Upstream,
    /// The bucket's name.
    pub bucket: String,
    /// The most readings in one batch.
    pub batch_readings: u64,
    /// How long it goes on delivering after the end of input.
    pub drain_seconds: u64,
    /// The longest pause before a batch is sent again.
    pub retry_ms_max: u64,
    /// The most readings held; beyond it nothing is read.
    pub held_max: u64,
}

/// A URL in the parts that a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// How the host is spoken to.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: String,
    /// Path and query; at least `/`.
    pub path_with_query: String,
}

/// The schemes that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Why the command line cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// `--help`: no error, but no work either.
    #[error("help is wanted")]
    Help,
    /// No such option.
    #[error("unknown argument {0:?}, see --help")]
    Unknown(String),
    /// The option stands last.
    #[error("{0} needs a value")]
    ValueMissing(String),
    /// `--upstream` was not given.
    #[error("--upstream URL is missing, as in --upstream http://127.0.0.1:8080/readings")]
    UpstreamMissing,
    /// `--upstream` is no URL that can be posted to.
    #[error("--upstream {0:?} is not a URL like http://host:port/path")]
    Upstream(String),
    /// The value is no number or not within its bounds.
    #[error("{option} {value:?} is not a whole number from {min} to {max}")]
    Number {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// The least that may be given.
        min: u64,
        /// The most that may be given.
        max: u64,
    },
}

impl Settings {
    /// Reads the arguments, without the program's name. An option's value follows it, or stands behind
    /// an equals sign; of a repeated one the last counts.
    ///
    /// # Errors
    /// The first argument that cannot be followed.
    pub fn parse(arguments: &[String]) -> Result<Self, SettingsError> {
        let mut upstream = None;
        let mut bucket = "buffer".to_owned();
        let (mut batch_readings, mut drain_seconds) = (100, 30);
        let (mut retry_ms_max, mut held_max) = (2_000, u64::MAX);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                _ => (argument.as_str(), None),
            };
            let mut value = || {
                value
                    .or_else(|| rest.next().map(String::as_str))
                    .ok_or_else(|| SettingsError::ValueMissing(option.to_owned()))
            };
            match option {
                "--help" | "-h" => return Err(SettingsError::Help),
                "--upstream" => upstream = Some(Upstream::parse(value()?)?),
                "--bucket" => bucket = value()?.to_owned(),
                "--batch-readings" => {
                    batch_readings = number("--batch-readings", value()?, 1, BATCH_READINGS_MAX)?;
                }
                "--drain" => drain_seconds = number("--drain", value()?, 0, DRAIN_SECONDS_MAX)?,
                "--retry-ms-max" => {
                    retry_ms_max = number("--retry-ms-max", value()?, 1, RETRY_MS_MAX)?;
                }
                "--held-max" => held_max = number("--held-max", value()?, 1, u64::MAX)?,
                _ => return Err(SettingsError::Unknown(argument.clone())),
            }
        }
        let upstream = upstream.ok_or(SettingsError::UpstreamMissing)?;
        Ok(Self { upstream, bucket, batch_readings, drain_seconds, retry_ms_max, held_max })
    }
}

fn number(option: &'static str, value: &str, min: u64, max: u64) -> Result<u64, SettingsError> {
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(SettingsError::Number { option, value: value.to_owned(), min, max }),
    }
}

impl Upstream {
    fn parse(url: &str) -> Result<Self, SettingsError> {
        let refused = || SettingsError::Upstream(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refused()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path_with_query =
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // Credentials in a URL would end up in logs, and a fragment is never sent.
        let is_authority = !authority.is_empty()
            && authority
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        let is_path = path_with_query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let port = authority.rsplit_once(':').filter(|_| !authority.ends_with(']'));
        let is_port =
            port.is_none_or(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !(is_authority && is_path && is_port) {
            return Err(refused());
        }
        Ok(Self { scheme, authority: authority.to_owned(), path_with_query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, SettingsError> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Settings::parse(&arguments)
    }

    #[test]
    fn the_defaults_are_those_that_are_promised() {
        let settings = parse("--upstream http://127.0.0.1:8080/readings");
        let expected = Settings {
            upstream: Upstream {
                scheme: Scheme::Http,
                authority: "127.0.0.1:8080".to_owned(),
                path_with_query: "/readings".to_owned(),
            },
            bucket: "buffer".to_owned(),
            batch_readings: 100,
            drain_seconds: 30,
            retry_ms_max: 2_000,
            held_max: u64::MAX,
        };
        assert_eq!(settings, Ok(expected));
    }

    #[test]
    fn every_option_is_read_with_a_space_or_an_equals_sign() {
        let spaced = parse(
            "--upstream https://sink --bucket b --batch-readings 7 --drain 0 --retry-ms-max 5 --held-max 9",
        );
        let joined = parse(
            "--upstream=https://sink --bucket=b --batch-readings=7 --drain=0 --retry-ms-max=5 --held-max=9",
        );
        assert_eq!(spaced, joined);
        let settings = spaced.expect("both are sound");
        assert_eq!(
            (settings.upstream.scheme, settings.upstream.path_with_query.as_str()),
            (Scheme::Https, "/")
        );
        assert_eq!((settings.bucket.as_str(), settings.batch_readings), ("b", 7));
        assert_eq!((settings.drain_seconds, settings.retry_ms_max, settings.held_max), (0, 5, 9));
        assert_eq!(parse("--upstream http://a --bucket=").map(|s| s.bucket), Ok(String::new()));
    }

    #[test]
    fn urls_that_cannot_be_posted_to_are_refused() {
        for url in [
            "127.0.0.1:8080/x",
            "ftp://host/x",
            "http://",
            "http:///x",
            "http://user@host/x",
            "http://host:port/x",
            "http://host:70000/x",
            "http://:80/x",
            "http://host/x#y",
            "http://host/ä",
        ] {
            let refused = Err(SettingsError::Upstream(url.to_owned()));
            assert_eq!(parse(&format!("--upstream {url}")), refused);
        }
        for url in ["http://[::1]:8080/x", "http://[::1]/", "HTTP://a.b-c:1?q=1"] {
            assert!(parse(&format!("--upstream {url}")).is_ok(), "{url}");
        }
    }

    #[test]
    fn arguments_that_cannot_be_followed_are_named() {
        assert_eq!(parse(""), Err(SettingsError::UpstreamMissing));
        assert_eq!(parse("--help"), Err(SettingsError::Help));
        assert_eq!(parse("x"), Err(SettingsError::Unknown("x".to_owned())));
        assert_eq!(parse("--drains=1"), Err(SettingsError::Unknown("--drains=1".to_owned())));
        assert_eq!(parse("--drain"), Err(SettingsError::ValueMissing("--drain".to_owned())));
        let refused = parse("--batch-readings 0").expect_err("a batch has a reading");
        assert_eq!(
            refused.to_string(),
            "--batch-readings \"0\" is not a whole number from 1 to 10000"
        );
        for line in
            ["--drain -1", "--drain x", "--retry-ms-max 0", "--held-max 0", "--drain 604801"]
        {
            assert!(matches!(parse(line), Err(SettingsError::Number { .. })), "{line}");
        }
    }
}

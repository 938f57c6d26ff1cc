//! Patterns of hosts that a guest may call.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest DNS name, bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a DNS name, bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;
/// The ports that a pattern without a port allows: those that a URL without a port means.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// `host[:port]`: a lower-case DNS name, an IPv4 address or an IPv6 address in brackets. A leading
/// `*.` stands for one or more labels. Without a port, 80 and 443 are meant, as in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Whether the pattern begins with `*.`.
    wildcard: bool,
    host: String,
    port: Option<u16>,
}

impl HostPattern {
    /// Whether a call of `host` (no brackets around IPv6, any case) at `port` is allowed.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let host_fits = if self.wildcard {
            host.strip_suffix(&self.host)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty())
        } else {
            host == self.host
        };
        host_fits
            && self
                .port
                .map_or_else(|| DEFAULT_PORTS.contains(&port), |own| own == port)
    }
}

impl HostPattern {
    /// Whether it allows a call of exactly this host, without a wildcard.
    #[must_use]
    pub fn names(&self, host: &str, port: u16) -> bool {
        !self.wildcard && self.allows(host, port)
    }
}

/// What a node permits its guests to call: `*` for every host and port, or a [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermittedHost {
    /// Every host and port.
    Any,
    /// Those that fit.
    Pattern(HostPattern),
}

impl PermittedHost {
    /// Whether a call of `host` at `port` is permitted.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Pattern(pattern) => pattern.allows(host, port),
        }
    }

    /// Whether exactly this host is permitted, without a wildcard.
    #[must_use]
    pub fn names(&self, host: &str, port: u16) -> bool {
        matches!(self, Self::Pattern(pattern) if pattern.names(host, port))
    }
}

impl FromStr for PermittedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::Any),
            text => text.parse().map(Self::Pattern),
        }
    }
}

impl fmt::Display for PermittedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Pattern(pattern) => pattern.fmt(f),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |reason: &str| {
            let text: String = text.chars().take(64).collect();
            format!(
                "'{text}' is not a host pattern: {reason}; write host, host:port or *.host[:port]"
            )
        };
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, tail) = bracketed
                    .split_once(']')
                    .ok_or_else(|| refuse("the bracket is not closed"))?;
                let address: Ipv6Addr = host.parse().map_err(|_| refuse("not an IPv6 address"))?;
                let port = match tail {
                    "" => None,
                    tail => Some(
                        tail.strip_prefix(':')
                            .ok_or_else(|| refuse("no port after ']'"))?,
                    ),
                };
                if wildcard {
                    return Err(refuse("'*.' needs a DNS name"));
                }
                (address.to_string(), port)
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (rest.to_owned(), None),
            },
        };
        let port = match port {
            None => None,
            Some(port) => Some(
                port.parse::<u16>()
                    .ok()
                    .filter(|&number| number > 0 && number.to_string() == port)
                    .ok_or_else(|| refuse("the port is a number from 1 to 65535"))?,
            ),
        };
        if !rest.starts_with('[') {
            check_dns_name(&host).map_err(refuse)?;
        }
        Ok(Self {
            wildcard,
            host,
            port,
        })
    }
}

fn check_dns_name(host: &str) -> Result<(), &'static str> {
    if host.is_empty() || host.len() > HOST_BYTES_MAX {
        return Err("a host has 1 to 253 characters");
    }
    for label in host.split('.') {
        let fits = (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !fits {
            return Err(
                "a host is lower-case letters, digits and '-' between dots, without scheme or path",
            );
        }
    }
    Ok(())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.wildcard { "*." } else { "" };
        if self.host.contains(':') {
            write!(f, "{prefix}[{}]", self.host)?;
        } else {
            write!(f, "{prefix}{}", self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, host: &str, port: u16) -> bool {
        pattern
            .parse::<HostPattern>()
            .expect(pattern)
            .allows(host, port)
    }

    #[test]
    fn a_pattern_allows_what_it_says_and_nothing_near_it() {
        assert!(allows("example.org", "example.org", 443));
        assert!(allows("example.org", "Example.ORG.", 80));
        assert!(!allows("example.org", "example.org", 8080));
        assert!(!allows("example.org", "www.example.org", 443));
        assert!(allows("*.example.org", "a.b.example.org", 443));
        assert!(!allows("*.example.org", "example.org", 443));
        assert!(!allows("*.example.org", ".example.org", 443));
        assert!(!allows("*.example.org", "evilexample.org", 443));
        assert!(allows("127.0.0.1:8080", "127.0.0.1", 8080));
        assert!(!allows("127.0.0.1:8080", "127.0.0.1", 80));
        assert!(allows("[::1]:9", "[::1]", 9));
        assert!(allows("[0:0::1]:9", "::1", 9));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "*", "*.", "a.*.b", "http://a", "a/b", "a:", "a:0", "a:65536", "a:+1", "A", "a..b",
            "-a", "[::1", "[::1]x", "[x]", "*.[::1]", "a b", "é.org", "a:1:2",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}

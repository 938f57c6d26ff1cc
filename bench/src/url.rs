//! What to load: an address and the path of the requests.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

/// `http://HOST:PORT/PATH`, or `unix:SOCKET:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Where to connect.
    pub address: Address,
    /// The value of the `host` header.
    pub host: String,
    /// The path and query of each request.
    pub path: String,
}

/// A URL that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("'{url}' cannot be loaded: {reason}; give http://HOST:PORT/PATH or unix:SOCKET:/PATH")]
pub struct UrlError {
    url: String,
    reason: String,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |reason: &str| UrlError {
            url: text.to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("unix:") {
            let (socket, path) = match rest.find(":/") {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, "/"),
            };
            if socket.is_empty() {
                return Err(error("it names no socket"));
            }
            return Ok(Self {
                address: Address::Unix(socket.into()),
                host: "localhost".into(),
                path: path.into(),
            });
        }
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| error("only plain HTTP is spoken"))?;
        let (host, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let with_port = if host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|cause| error(&cause.to_string()))?
            .next()
            .ok_or_else(|| error("the host has no address"))?;
        Ok(Self {
            address: Address::Tcp(address),
            host: host.into(),
            path: path.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_address_and_path() {
        let url: Url = "http://127.0.0.1:7411/run/hello?x=y"
            .parse()
            .expect("a URL");
        assert_eq!(url.address, Address::Tcp(([127, 0, 0, 1], 7411).into()));
        assert_eq!(
            (url.host.as_str(), url.path.as_str()),
            ("127.0.0.1:7411", "/run/hello?x=y")
        );
        let url: Url = "unix:/run/a:b.sock:/run/hello".parse().expect("a URL");
        assert_eq!(url.address, Address::Unix("/run/a:b.sock".into()));
        assert_eq!(url.path, "/run/hello");
        let url: Url = "unix:shard-0.sock".parse().expect("a URL");
        assert_eq!(url.path, "/");
    }

    #[test]
    fn what_cannot_be_loaded_is_named() {
        for text in [
            "https://127.0.0.1/",
            "unix:",
            "127.0.0.1:1",
            "http://nowhere.invalid:1/",
        ] {
            let error = text.parse::<Url>().expect_err(text).to_string();
            assert!(
                error.contains(text) && error.contains("http://HOST:PORT"),
                "{error}"
            );
        }
    }
}

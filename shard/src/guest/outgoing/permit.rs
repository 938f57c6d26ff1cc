//! Whether a guest may call a host, by what its manifest declares and what the node permits.

use std::net::Ipv6Addr;

use http::Uri;
use http::uri::Scheme;
use vyr_core::artifact::{HostPattern, PermittedHost};

/// A host that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) is_tls: bool,
    /// In lower case, without brackets around IPv6 and without a dot at the end.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it may be on this machine or link: both lists name it literally, as an address or as
    /// `localhost`. Other names belong to whoever runs their DNS.
    pub(super) may_be_local: bool,
}

/// Why a host may not be called, for the task's log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("outgoing request refused: its URL has no host, or another scheme than http and https")]
    Url,
    #[error(
        "outgoing request to {host}:{port} refused: the artifact's manifest does not name it; add it to \
         [capabilities] outgoing_hosts"
    )]
    Undeclared { host: String, port: u16 },
    #[error(
        "outgoing request to {host}:{port} refused: this node does not permit it; start it with \
         --outgoing-host, or add it to outgoing_hosts in the node's configuration file"
    )]
    NotPermitted { host: String, port: u16 },
}

impl Permit {
    pub(super) fn of(
        uri: &Uri,
        declared: &[HostPattern],
        permitted: &[PermittedHost],
    ) -> Result<Self, Refusal> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(Refusal::Url),
        };
        let host = uri.host().ok_or(Refusal::Url)?;
        let host = normal(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        if !declared.iter().any(|pattern| pattern.allows(&host, port)) {
            return Err(Refusal::Undeclared { host, port });
        }
        if !permitted.iter().any(|pattern| pattern.allows(&host, port)) {
            return Err(Refusal::NotPermitted { host, port });
        }
        let is_address = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok();
        let may_be_local = is_address
            && declared.iter().any(|pattern| pattern.names(&host, port))
            && permitted.iter().any(|pattern| pattern.names(&host, port));
        Ok(Self {
            is_tls,
            host,
            port,
            may_be_local,
        })
    }
}

/// One spelling for each host, so that lists, connections and certificates mean the same one.
fn normal(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return address.to_string();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(url: &str, declared: &[&str], permitted: &[&str]) -> Result<Permit, Refusal> {
        let declared: Vec<HostPattern> = declared
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect();
        let permitted: Vec<PermittedHost> = permitted
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect();
        Permit::of(&url.parse().expect("a URI"), &declared, &permitted)
    }

    #[test]
    fn both_lists_must_allow_a_host() {
        let url = "https://api.example.org/path";
        for (declared, permitted) in [
            (&["api.example.org"][..], &["*"][..]),
            (&["*.example.org"], &["api.example.org"]),
            (&["api.example.org:443"], &["*.org:443"]),
        ] {
            let permit = permit(url, declared, permitted).expect("allowed");
            assert_eq!((permit.port, permit.is_tls), (443, true));
            assert!(!permit.may_be_local);
        }
        let undeclared = permit(url, &["example.org"], &["*"]).expect_err("another host");
        assert!(undeclared.to_string().contains("outgoing_hosts"));
        let not_permitted = permit(url, &["*.example.org"], &[]).expect_err("no host");
        assert!(not_permitted.to_string().contains("--outgoing-host"));
        assert!(permit("http://api.example.org:8080", &["api.example.org"], &["*"]).is_err());
        assert_eq!(
            permit("ftp://a.example", &["a.example"], &["*"]),
            Err(Refusal::Url)
        );
    }

    #[test]
    fn only_what_both_name_may_be_local() {
        let local = |url: &str, declared: &str, permitted: &str| {
            permit(url, &[declared], &[permitted])
                .expect("allowed")
                .may_be_local
        };
        assert!(local(
            "http://127.0.0.1:81/",
            "127.0.0.1:81",
            "127.0.0.1:81"
        ));
        assert!(local("http://LOCALHOST/", "localhost", "localhost"));
        assert!(local("http://localhost./", "localhost", "localhost"));
        assert!(local("http://[::1]/", "[::1]", "[::1]"));
        assert!(local("http://[0:0::1]/", "[::1]", "[::1]"));
        // The resolver takes these for 127.0.0.1.
        assert!(!local("http://127.1/", "127.1", "127.1"));
        assert!(!local("http://2130706433/", "2130706433", "2130706433"));
        assert!(!local("http://127.0.0.1:81/", "127.0.0.1:81", "*"));
        // Whoever runs its DNS could point it inside.
        assert!(!local("http://a.example/", "a.example", "a.example"));
        assert!(!local("http://a.localhost/", "*.localhost", "a.localhost"));
    }
}

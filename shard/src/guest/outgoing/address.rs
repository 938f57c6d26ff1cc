//! From a host's name to addresses that a guest may reach.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime_wasi_http::Error;

use super::client::Failed;
use super::permit::Permit;
use crate::rt;

/// Names looked up at the same time. Fewer than the shard's helper threads: a name server that does
/// not answer must not keep artifacts from being loaded.
const LOOKUPS_MAX: usize = 4;

/// The system's resolver, on helper threads.
pub(super) struct Resolver {
    lookups: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl Resolver {
    /// The addresses to try, in order. Those that mean this machine or link anywhere are left out unless the permit
    /// names them.
    pub(super) async fn resolve(&self, permit: &Permit) -> Result<Vec<SocketAddr>, Failed> {
        let found = match permit.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, permit.port)],
            Err(_) => self.look_up(permit).await.map_err(|error| {
                let line = format!(
                    "outgoing request: '{}' has no address: {error}",
                    permit.host
                );
                let dns = Error::DnsError {
                    rcode: Some(error.to_string()),
                    info_code: None,
                };
                Failed::logged(dns, line)
            })?,
        };
        allowed(permit, &found)
    }

    async fn look_up(&self, permit: &Permit) -> std::io::Result<Vec<SocketAddr>> {
        let turn = Arc::clone(&self.lookups).acquire_owned().await;
        let (host, port) = (permit.host.clone(), permit.port);
        rt::unblock(move || {
            // The turn lasts as long as the thread is used, also when nobody waits any more.
            let _turn = turn;
            (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect)
        })
        .await
    }
}

/// What may be reached of what was found.
fn allowed(permit: &Permit, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, Failed> {
    let allowed: Vec<_> = found
        .iter()
        .copied()
        .filter(|address| permit.may_be_local || !is_local(address.ip()))
        .collect();
    if allowed.is_empty() {
        return Err(Failed::logged(
            Error::DestinationIpProhibited,
            format!(
                "outgoing request to '{}' refused: it is on this machine or link ({}); to allow that, name \
                 the address itself in the manifest's outgoing_hosts and with the node's --outgoing-host",
                permit.host,
                found
                    .first()
                    .map_or_else(|| "no address".into(), |address| address.ip().to_string()),
            ),
        ));
    }
    Ok(allowed)
}

/// Whether an address means this machine, this link or nobody in particular, wherever it is used. The addresses of this
/// machine's interfaces are like those of other machines.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            let inner = v6.to_ipv4_mapped().or_else(|| nat64(v6));
            inner.is_some_and(|v4| is_local(v4.into()))
                || v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
        }
    }
}

/// The IPv4 address inside one of the well-known translation prefix (RFC 6052).
fn nat64(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    Some(std::net::Ipv4Addr::from(
        u32::from(high) << 16 | u32::from(low),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_others() {
        for local in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_local(local.parse().expect(local)), "{local}");
        }
        for other in [
            "192.0.2.1",
            "10.0.0.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "64:ff9b::c000:201",
        ] {
            assert!(!is_local(other.parse().expect(other)), "{other}");
        }
    }
}

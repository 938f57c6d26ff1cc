//! The node's address: checked, and held while shards come and go.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use anyhow::{Context, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A port that is taken but not listened on: shards share it by `SO_REUSEPORT`, another node or
/// program cannot have it, even while every shard is being restarted.
pub(super) struct Reserved {
    pub(super) address: SocketAddr,
    _socket: OwnedFd,
}

/// Refuses to serve strangers without a token.
pub(super) fn check(listen: SocketAddr, has_token: bool) -> anyhow::Result<()> {
    if !listen.ip().is_loopback() && !has_token {
        bail!(
            "{listen} is reachable from other machines and no token is set; give --token-file FILE, or listen on 127.0.0.1"
        );
    }
    Ok(())
}

/// Takes the address; port 0 becomes a free one.
pub(super) fn reserve(listen: SocketAddr) -> anyhow::Result<Reserved> {
    let explain = || format!("cannot listen on {listen}; is another node or program there?");
    // Without SO_REUSEPORT this fails when anyone else has the port, which sharing would hide.
    let alone = TcpListener::bind(listen).with_context(explain)?;
    let address = alone.local_addr().with_context(explain)?;
    drop(alone);
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let reserve = || -> rustix::io::Result<OwnedFd> {
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Without SO_REUSEADDR: with it, a socket that does not listen would keep nobody out.
        sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    };
    let socket = reserve().with_context(explain)?;
    Ok(Reserved {
        address,
        _socket: socket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let reserved = reserve(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        assert_ne!(reserved.address.port(), 0);
        assert!(reserve(reserved.address).is_err());
    }

    #[test]
    fn only_loopback_goes_without_a_token() {
        let check = |text: &str, token| check(text.parse().expect("an address"), token);
        assert!(check("127.0.0.1:1", false).is_ok());
        assert!(check("[::1]:1", false).is_ok());
        assert!(check("0.0.0.0:1", false).is_err());
        assert!(check("10.0.0.1:1", false).is_err());
        assert!(check("0.0.0.0:1", true).is_ok());
    }
}

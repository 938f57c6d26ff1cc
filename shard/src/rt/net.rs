//! Listeners.
//!
//! A connection is taken by a plain `accept4` after the executor said that one waits, never by an
//! operation left in the kernel: a dropped `accept` future cannot lose a connection.

use super::readiness::Readiness;
use super::stream::{STREAM_FLAGS, Stream};
use super::timer::sleep_until;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// After an accept failed for lack of descriptors or memory, the next one waits so long: the
/// connection still waits in the queue, so a loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`.
    pub backlog: u32,
    /// Lets other sockets of the same user listen on the same address (`SO_REUSEPORT`); the kernel
    /// spreads connections over them.
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_port: false,
        }
    }
}

/// A listening TCP socket.
pub struct TcpListener {
    listener: Listener,
    local: SocketAddr,
}

impl TcpListener {
    /// Listens on `address`; port 0 takes a free one. Accepted connections send without delay
    /// (`TCP_NODELAY`).
    pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, STREAM_FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, options.reuse_port)?;
        // Both are inherited by accepted sockets. Without the second, urgent data would keep a
        // socket "readable" for io_uring with nothing to read.
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_oobinline(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        listen(&socket, options.backlog)?;
        let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        Ok(Self {
            listener: Listener::new(socket)?,
            local,
        })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for a connection. May be dropped at any time without losing one.
    ///
    /// An error (`EMFILE`, say) leaves the listener usable: log it and call again; the next call
    /// waits a moment by itself, so a loop does not spin.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.listener.accept().await
    }
}

/// A listening Unix socket.
pub struct UnixListener(Listener);

impl UnixListener {
    /// Listens at `path`, which must not exist yet. The file is not removed at the end.
    pub fn bind(path: impl AsRef<Path>, backlog: u32) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path.as_ref())?;
        let family = AddressFamily::UNIX;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, STREAM_FLAGS, None)?;
        rustix::net::bind(&socket, &address)?;
        listen(&socket, backlog)?;
        Ok(Self(Listener::new(socket)?))
    }

    /// Waits for a connection; see [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.0.accept().await
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.readiness.fd()
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.readiness.fd()
    }
}

struct Listener {
    readiness: Readiness,
    /// Set after a failure that would otherwise repeat at once.
    pause_until: Cell<Option<Instant>>,
}

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            readiness: Readiness::new(socket)?,
            pause_until: Cell::new(None),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        if let Some(until) = self.pause_until.get() {
            sleep_until(until).await;
            self.pause_until.set(None);
        }
        let accepted = self.readiness.read_io(|fd| {
            loop {
                match rustix::net::acceptfrom_with(fd, STREAM_FLAGS) {
                    // The peer left before it was accepted, or its network failed: take the next.
                    Err(errno) if is_of_the_connection(errno) => {}
                    other => break other,
                }
            }
        });
        let accepted = accepted.await.and_then(|(socket, peer)| {
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            Ok((Stream::from_socket(socket, peer)?, peer))
        });
        if accepted.is_err() {
            self.pause_until.set(Some(Instant::now() + ACCEPT_PAUSE));
        }
        accepted
    }
}

/// accept(2): "Linux accept() passes already-pending network errors on the new socket as an error
/// code from accept(). For reliable operation the application should detect" these and retry.
fn is_of_the_connection(errno: Errno) -> bool {
    [
        Errno::CONNABORTED,
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
    ]
    .contains(&errno)
}

fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(rustix::net::listen(socket, backlog)?)
}

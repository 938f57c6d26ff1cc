//! A connected byte stream, over TCP or a Unix socket.

use super::readiness::{Direction, Progress, Readiness};
use super::timer::sleep;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) const STREAM_FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A Unix listener whose queue is full refuses at once; the next attempt comes after this time.
const CONNECT_RETRY: Duration = Duration::from_millis(1);
const CONNECT_RETRY_MAX: Duration = Duration::from_millis(64);

/// A connection. One task reads and writes it, or two tasks share it behind one owner.
///
/// Dropping it closes it, whatever is pending.
pub struct Stream {
    readiness: Readiness,
    peer: Option<SocketAddr>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Takes over a connected, non-blocking socket.
    pub(super) fn from_socket(socket: OwnedFd, peer: Option<SocketAddr>) -> io::Result<Self> {
        Ok(Self {
            readiness: Readiness::new(socket)?,
            peer,
        })
    }

    /// Connects over TCP. For a bound in time use [`timeout`](super::timeout).
    pub async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, STREAM_FLAGS, None)?;
        // Urgent data would keep the socket "readable" for io_uring without anything to read.
        sockopt::set_socket_oobinline(&socket, true)?;
        let started = rustix::net::connect(&socket, &address);
        let mut stream = Self::from_socket(socket, Some(address))?;
        match started {
            Ok(()) => {}
            Err(Errno::INPROGRESS | Errno::INTR) => stream.connected().await?,
            Err(errno) => return Err(errno.into()),
        }
        Ok(stream)
    }

    /// Connects to a Unix socket. While its queue is full this tries again, until it is dropped:
    /// for a bound in time use [`timeout`](super::timeout).
    pub async fn connect_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path.as_ref())?;
        let mut pause = CONNECT_RETRY;
        loop {
            let family = AddressFamily::UNIX;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, STREAM_FLAGS, None)?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Self::from_socket(socket, None),
                Err(Errno::AGAIN) => sleep(pause).await,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            pause = (pause * 2).min(CONNECT_RETRY_MAX);
        }
    }

    /// Waits for the end of a connect that is under way.
    async fn connected(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            self.readiness.poll_io(cx, Direction::Write, |fd| {
                sockopt::socket_error(fd)??;
                // No error and no peer: writable was reported before the end of the handshake.
                match rustix::net::getpeername(fd) {
                    Ok(_) => Ok(Progress::Done(())),
                    Err(Errno::NOTCONN) => Err(Errno::AGAIN),
                    Err(errno) => Err(errno),
                }
            })
        })
        .await
    }

    /// Reads what is there, at least one byte, into `buffer`, which need not be initialised; the
    /// count tells how much of its start is now. 0 means that the peer ended its side, or that the
    /// buffer is empty.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let room = buffer.len();
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        self.readiness.poll_io(cx, Direction::Read, |fd| {
            let (_, count) = rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?;
            // A short read took all there was. The end of the stream is no short read: it stays.
            let drained = 0 < count && count < room;
            Ok(if drained {
                Progress::Drained(count)
            } else {
                Progress::Done(count)
            })
        })
    }

    /// Writes a prefix of `bytes` and tells how long it was.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.readiness.poll_io(cx, Direction::Write, |fd| {
            let count = rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)?;
            Ok(written(count, bytes.len()))
        })
    }

    /// Writes a prefix of the concatenation of `slices` in one call and tells how long it was.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // More slices than the kernel takes at once are a prefix as well.
        let slices = &slices[..slices.len().min(IOV_MAX)];
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.readiness.poll_io(cx, Direction::Write, |fd| {
            let mut control = SendAncillaryBuffer::default();
            let count = rustix::net::sendmsg(fd, slices, &mut control, SendFlags::NOSIGNAL)?;
            Ok(written(count, length))
        })
    }

    /// Vectored writes are one system call: prefer them to copying.
    pub fn is_write_vectored() -> bool {
        true
    }

    /// Nothing is buffered here.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the write side; the read side goes on.
    pub fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = rustix::net::shutdown(self.readiness.fd(), Shutdown::Write);
        Poll::Ready(ended.map_err(Into::into))
    }

    /// Reads into an initialised buffer; see [`poll_read`](Self::poll_read).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        if room == 0 {
            return Ok(0);
        }
        poll_fn(|cx| {
            self.readiness.poll_io(cx, Direction::Read, |fd| {
                let (count, _) = rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?;
                let drained = 0 < count && count < room;
                Ok(if drained {
                    Progress::Drained(count)
                } else {
                    Progress::Done(count)
                })
            })
        })
        .await
    }

    /// Writes everything.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends the write side; see [`poll_shutdown`](Self::poll_shutdown).
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Sends small writes at once (`TCP_NODELAY`). Nothing on a Unix socket, which always does.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        if self.peer.is_some() {
            sockopt::set_tcp_nodelay(self.readiness.fd(), nodelay)?;
        }
        Ok(())
    }

    /// The peer's address; `None` over a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The user id of the process at the other end of a Unix socket; `None` over TCP.
    pub fn peer_uid(&self) -> Option<u32> {
        if self.peer.is_some() {
            return None;
        }
        Some(
            sockopt::socket_peercred(self.readiness.fd())
                .ok()?
                .uid
                .as_raw(),
        )
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.fd()
    }
}

/// `UIO_MAXIOV` of Linux.
const IOV_MAX: usize = 1024;

/// A short write filled the socket's buffer.
fn written(count: usize, length: usize) -> Progress<usize> {
    if count < length {
        Progress::Drained(count)
    } else {
        Progress::Done(count)
    }
}

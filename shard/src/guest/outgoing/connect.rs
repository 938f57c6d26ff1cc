//! New connections to other hosts, as hyper wants them.

#![expect(
    unsafe_code,
    reason = "tokio's read buffer is advanced by an unsafe call"
)]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi_http::{Error, WasiBody};

use super::address::Resolver;
use super::client::{Failed, of_hyper};
use super::permit::Permit;
use super::pool::Open;
use super::tls::Tls;
use crate::rt;

/// Bytes of a response that are read ahead of the guest; its head must fit as well.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// What new connections are made with.
#[derive(Default)]
pub(super) struct Connector {
    resolver: Resolver,
    tls: Tls,
}

impl Connector {
    /// Resolves, connects and shakes hands before `deadline`. The connection lives as long as its
    /// sender, or an exchange on it.
    pub(super) async fn connect(
        &self,
        permit: &Permit,
        deadline: Instant,
        open: Open,
    ) -> Result<SendRequest<WasiBody>, Failed> {
        let addresses = rt::timeout(left(deadline), self.resolver.resolve(permit))
            .await
            .map_err(|_| late(permit, Error::DnsTimeout))??;
        let reached = reach(addresses, deadline).await;
        let stream = TokioStream(reached.map_err(|error| {
            let line = format!(
                "outgoing request to {}:{}: no connection: {error}",
                permit.host, permit.port
            );
            Failed::logged(of_connecting(&error), line)
        })?);
        let shaken = async {
            if permit.is_tls {
                handshake(self.tls.connect(&permit.host, stream).await?, open).await
            } else {
                handshake(stream, open).await
            }
        };
        rt::timeout(left(deadline), shaken)
            .await
            .map_err(|_| late(permit, Error::ConnectionTimeout))?
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn late(permit: &Permit, error: Error) -> Failed {
    let line = format!(
        "outgoing request to {}:{}: {error}",
        permit.host, permit.port
    );
    Failed::logged(error, line)
}

/// The first address that takes the connection. Each gets its share of the time that is left, so
/// that one that never answers does not keep the next from being tried.
async fn reach(addresses: Vec<SocketAddr>, deadline: Instant) -> io::Result<rt::Stream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let count = addresses.len();
    for (tried, address) in addresses.into_iter().enumerate() {
        let untried = u32::try_from(count - tried).unwrap_or(u32::MAX);
        let share = left(deadline) / untried;
        match rt::timeout(share, rt::Stream::connect_tcp(address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// What a guest is told when no address takes the connection.
fn of_connecting(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationIpUnroutable
        }
        _ => Error::DestinationUnavailable,
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    open: Open,
) -> Result<SendRequest<WasiBody>, Failed> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_AHEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| of_hyper(&error))?;
    rt::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a guest's connection ended");
        }
        drop(open);
    });
    Ok(sender)
}

/// A stream of the shard's executor as tokio's traits see it.
struct TokioStream(rt::Stream);

impl AsyncRead for TokioStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: the bytes are only written to, by the stream, which tells how many it wrote.
        let free = unsafe { buffer.unfilled_mut() };
        let count = ready!(self.0.poll_read(context, free))?;
        // SAFETY: the stream initialised `count` bytes at the start of the free part.
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}

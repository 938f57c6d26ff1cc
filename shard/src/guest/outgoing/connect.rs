//! New connections to other hosts, as hyper wants them.

#![expect(
    unsafe_code,
    reason = "tokio's read buffer is advanced by an unsafe call"
)]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi_http::{Error, WasiBody};

use super::address::resolve;
use super::client::Failed;
use super::permit::Permit;
use super::pool::Open;
use super::tls::Tls;
use crate::rt;

/// Resolves, connects and shakes hands. The connection lives as long as its sender, or an exchange on it.
pub(super) async fn connect(
    permit: &Permit,
    tls: &Tls,
    open: Open,
) -> Result<SendRequest<WasiBody>, Failed> {
    let stream = TokioStream(reach(resolve(permit).await?).await?);
    if permit.is_tls {
        handshake(tls.connect(&permit.host, stream).await?, open).await
    } else {
        handshake(stream, open).await
    }
}

/// The first address that takes the connection.
async fn reach(addresses: Vec<SocketAddr>) -> Result<rt::Stream, Failed> {
    let mut last = None;
    for address in addresses {
        match rt::Stream::connect_tcp(address).await {
            Ok(stream) => {
                // Without it small requests may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Err(match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationIpUnroutable
        }
        _ => Error::DestinationUnavailable,
    }
    .into())
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    open: Open,
) -> Result<SendRequest<WasiBody>, Failed> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::from)?;
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

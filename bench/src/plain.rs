//! A server to compare with: hyper on tokio's current-thread runtime, without Wasm.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// What it answers to everything, as the guest hello does.
pub const ANSWER: &str = "hello\n";

/// Serves on `address` until the process ends.
///
/// # Errors
/// When it cannot listen.
pub fn serve_on_tokio(address: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let service = service_fn(|_| async {
                    let body = Full::new(Bytes::from_static(ANSWER.as_bytes()));
                    let mut response = Response::new(body);
                    let text = hyper::header::HeaderValue::from_static("text/plain");
                    response
                        .headers_mut()
                        .insert(hyper::header::CONTENT_TYPE, text);
                    Ok::<_, Infallible>(response)
                });
                // A client that breaks its connection off breaks nothing here.
                let _ = http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

//! A service without Wasm on a shard's executor, to tell what the executor costs.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use vyr_shard::rt;

use crate::io::Connection;

/// As a node's own, so that the streams do the same work.
const WRITE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Answers every request with `text`, until the executor ends.
pub async fn serve_plain(listener: rt::TcpListener, text: &'static str) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => rt::spawn(connection(stream, text)),
            Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
        }
    }
}

async fn connection(stream: rt::Stream, text: &'static str) {
    let service = service_fn(|_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        let kind = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok::<_, Infallible>(response)
    });
    let ended = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(Connection::new(stream, WRITE_PAUSE_MAX), service)
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

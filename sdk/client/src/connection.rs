//! One request to a node, over TCP or a Unix socket.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use serde::de::DeserializeOwned;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use vyr_core::problem::Problem;

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node refused, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The node could not be reached, or the connection broke.
    #[error(
        "{node}: {reason}; is the node running? start one with 'vyr node', or name it with --node"
    )]
    Connection {
        /// The node's URL.
        node: String,
        /// What happened.
        reason: String,
    },
    /// The node's answer is not understood.
    #[error("{node}: {reason}; is this a VYR node of the same version?")]
    Protocol {
        /// The node's URL.
        node: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The node's URL is not one.
    #[error("'{0}' is not a node's URL; give http://HOST:PORT or unix:PATH")]
    Url(String),
}

/// A node to call.
#[derive(Debug, Clone)]
pub struct Client {
    node: String,
    endpoint: Endpoint,
    token: Option<String>,
}

#[derive(Debug, Clone)]
enum Endpoint {
    Tcp(String),
    Unix(PathBuf),
}

impl Client {
    /// A client for the node at `http://HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(node: &str) -> Result<Self, Error> {
        let refuse = || Error::Url(node.to_owned());
        let endpoint = if let Some(path) = node.strip_prefix("unix:") {
            Endpoint::Unix(path.trim_start_matches("//").into())
        } else {
            let authority = node
                .strip_prefix("http://")
                .ok_or_else(refuse)?
                .trim_end_matches('/');
            if authority.is_empty() || authority.contains(['/', '@', ' ', '?', '#']) {
                return Err(refuse());
            }
            let has_port = authority
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            Endpoint::Tcp(if has_port {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            })
        };
        Ok(Self {
            node: node.to_owned(),
            endpoint,
            token: None,
        })
    }

    /// Sends this bearer token with every request.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// The node's URL.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Sends a request and gives the response, whose body still comes. An answer that is an error
    /// becomes [`Error::Problem`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("vyr"));
        if let Endpoint::Tcp(authority) = &self.endpoint
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            headers.insert(HOST, host);
        }
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| self.protocol("the token is not one that HTTP can carry"))?;
            headers.insert(AUTHORIZATION, value);
        }
        let response = match &self.endpoint {
            Endpoint::Tcp(authority) => {
                let stream = TcpStream::connect(authority)
                    .await
                    .map_err(|error| self.lost(error))?;
                // Without it small requests may wait for an acknowledgement; harmless if it fails.
                let _ = stream.set_nodelay(true);
                self.exchange(Io(stream), request).await?
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| self.lost(error))?;
                self.exchange(Io(stream), request).await?
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.bytes(response).await?;
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(_) => Err(self.protocol(format!("it answered {status}"))),
        }
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn call(&self, method: Method, path: &str) -> Result<Response<Incoming>, Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.send(self.request(method, path, body)?).await
    }

    /// `GET` of a JSON document.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.call(Method::GET, path).await?;
        self.json(response).await
    }

    /// A response's whole body.
    ///
    /// # Errors
    /// [`Error::Connection`] when it breaks off.
    pub async fn bytes(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| self.lost(error))?;
        Ok(body.to_bytes())
    }

    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, Error> {
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(error))
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        let request = Request::builder().method(method).uri(path).body(body);
        request.map_err(|error| self.protocol(error))
    }

    pub(crate) fn lost(&self, error: impl std::fmt::Display) -> Error {
        Error::Connection {
            node: self.node.clone(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn protocol(&self, reason: impl std::fmt::Display) -> Error {
        Error::Protocol {
            node: self.node.clone(),
            reason: reason.to_string(),
        }
    }

    async fn exchange<S>(
        &self,
        io: Io<S>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| self.lost(error))?;
        tokio::spawn(async move {
            // What breaks the connection breaks the exchange, which reports it.
            let _ = connection.await;
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| self.lost(error))
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is sent as it comes from the channel; an error breaks the request off.
#[must_use]
pub fn body_of_stream(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    StreamBody::new(Chunks(chunks)).boxed_unsync()
}

struct Chunks(mpsc::Receiver<io::Result<Bytes>>);

impl futures_core::Stream for Chunks {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|result| result.map(Frame::data)))
    }
}

/// tokio's streams as hyper wants them.
struct Io<S>(S);

impl<S: AsyncRead + Unpin> Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // A client can afford the copy that spares it unsafe code.
        let mut bytes = [0; 16 << 10];
        let room = cursor.remaining().min(bytes.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_node_urls_are_taken() {
        for good in [
            "http://127.0.0.1:7411",
            "http://[::1]:1/",
            "http://host",
            "unix:/run/x.sock",
        ] {
            assert!(Client::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7411",
            "https://host",
            "http://",
            "http://a/b",
            "http://u@h",
        ] {
            assert!(matches!(Client::new(bad), Err(Error::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_node_that_is_not_there_is_named_with_the_remedy() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = Client::new("unix:/nonexistent/vyr.sock").expect("a URL");
        let error = runtime
            .block_on(client.get::<serde_json::Value>("/v0/node"))
            .expect_err("nobody is there");
        let message = error.to_string();
        assert!(
            message.contains("/nonexistent/vyr.sock") && message.contains("vyr node"),
            "{message}"
        );
    }
}

//! The way to the other shards: the same HTTP over their Unix sockets, one hop at most.
//!
//! A shard that is asked for another's task sends the request on and streams the answer back.
//! Connections are kept and used again. A shard that does not answer has lost its tasks.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use vyr_core::id::ShardNumber;
use vyr_core::metrics::Counter;
use vyr_shard::{BodyError, rt};

use crate::io::Connection;
use crate::route::Internal;

/// Marks a request that came from another shard, which must not be sent on again.
pub(crate) const HOP: HeaderName = HeaderName::from_static("vyr-hop");
/// Idle connections kept to each shard.
const IDLE_MAX: usize = 16;
/// Longest time to reach another shard of the same machine.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest time another shard may take for its part of a joint answer.
const PART_TIME_MAX: Duration = Duration::from_secs(2);
/// Largest part of a joint answer, bytes.
const PART_BYTES_MAX: usize = 16 << 20;

/// A body that is there as a whole.
pub(crate) fn own_body(bytes: Bytes) -> impl Body<Data = Bytes, Error = BodyError> + Send {
    Full::new(bytes).map_err(|never| match never {})
}

type ForwardBody = UnsyncBoxBody<Bytes, BodyError>;

/// The shards of the node.
pub(crate) struct Peers {
    own: ShardNumber,
    peers: Vec<Peer>,
    write_pause_max: Duration,
    /// Requests sent on, those for joint answers not counted.
    hops: Counter,
}

struct Peer {
    socket: PathBuf,
    idle: RefCell<Vec<SendRequest<ForwardBody>>>,
}

/// The other shard could not be reached, or broke off: its process has ended.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} does not answer: {reason}")]
pub(crate) struct Unreachable {
    shard: ShardNumber,
    reason: String,
}

impl Peers {
    /// `sockets` has one path per shard of the node, in order.
    pub(crate) fn new(
        own: ShardNumber,
        sockets: Vec<PathBuf>,
        write_pause_max: Duration,
        hops: Counter,
    ) -> Self {
        let peers = sockets
            .into_iter()
            .map(|socket| Peer {
                socket,
                idle: RefCell::default(),
            })
            .collect();
        Self {
            own,
            peers,
            write_pause_max,
            hops,
        }
    }

    /// Shards of the node.
    pub(crate) fn count(&self) -> usize {
        self.peers.len()
    }

    /// The other shards.
    pub(crate) fn others(&self) -> impl Iterator<Item = ShardNumber> {
        let own = self.own;
        (0..self.peers.len()).filter_map(move |number| {
            let shard = ShardNumber(u16::try_from(number).ok()?);
            (shard != own).then_some(shard)
        })
    }

    pub(crate) fn has(&self, shard: ShardNumber) -> bool {
        usize::from(shard.0) < self.peers.len()
    }

    /// Sends a request on to the shard that must answer it.
    pub(crate) async fn forward<B>(
        &self,
        shard: ShardNumber,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Unreachable>
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        self.hops.inc();
        self.send(shard, request).await
    }

    async fn send<B>(
        &self,
        shard: ShardNumber,
        mut request: Request<B>,
    ) -> Result<Response<Incoming>, Unreachable>
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        let unreachable = |reason: String| Unreachable { shard, reason };
        let peer = self
            .peers
            .get(usize::from(shard.0))
            .ok_or_else(|| unreachable("the node has no such shard".into()))?;
        request
            .headers_mut()
            .insert(HOP, HeaderValue::from_static("1"));
        let mut request = request.map(BodyExt::boxed_unsync);
        if let Some(mut sender) = peer.idle() {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    peer.keep(sender);
                    return Ok(response);
                }
                // The other side may close an idle connection just now. What was not sent is sent
                // again; only a new connection tells whether the shard is gone.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(unreachable(failed.error().to_string())),
                },
            }
        }
        let mut sender = self.connect(peer).await.map_err(unreachable)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        peer.keep(sender);
        Ok(response)
    }

    /// Asks every other shard for its part of a joint answer. A shard that does not give one is
    /// left out: it is being restarted.
    pub(crate) async fn gather(&self, part: Internal, query: &str) -> Vec<(ShardNumber, Bytes)> {
        let mut parts = Vec::new();
        for shard in self.others() {
            match self.ask(shard, part, query).await {
                Ok(bytes) => parts.push((shard, bytes)),
                Err(error) => tracing::warn!(%error, "a joint answer lacks a shard"),
            }
        }
        parts
    }

    /// Asks one other shard for its part.
    pub(crate) async fn ask(
        &self,
        shard: ShardNumber,
        part: Internal,
        query: &str,
    ) -> Result<Bytes, Unreachable> {
        let asked = rt::timeout(PART_TIME_MAX, self.part(shard, part, query)).await;
        asked.unwrap_or_else(|_| {
            Err(Unreachable {
                shard,
                reason: "no answer in time".into(),
            })
        })
    }

    async fn part(
        &self,
        shard: ShardNumber,
        part: Internal,
        query: &str,
    ) -> Result<Bytes, Unreachable> {
        let unreachable = |reason: String| Unreachable { shard, reason };
        let uri = match query {
            "" => part.path().to_owned(),
            query => format!("{}?{query}", part.path()),
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header(http::header::HOST, "shard")
            .body(Empty::new().map_err(|never| match never {}))
            .map_err(|error| unreachable(error.to_string()))?;
        let response = self.send(shard, request).await?;
        let body = http_body_util::Limited::new(response.into_body(), PART_BYTES_MAX)
            .collect()
            .await;
        body.map(|body| body.to_bytes())
            .map_err(|error| unreachable(error.to_string()))
    }

    async fn connect(&self, peer: &Peer) -> Result<SendRequest<ForwardBody>, String> {
        let stream =
            match rt::timeout(CONNECT_TIME_MAX, rt::Stream::connect_unix(&peer.socket)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("no connection in time".into()),
            };
        let connection = Connection::new(stream, self.write_pause_max);
        let (sender, connection) = http1::handshake(connection)
            .await
            .map_err(|error| error.to_string())?;
        rt::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to another shard ended");
            }
        });
        Ok(sender)
    }
}

impl Peer {
    /// A connection that is ready for a request.
    fn idle(&self) -> Option<SendRequest<ForwardBody>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
            if !sender.is_closed() {
                // Still busy with an answer that its client has not read to the end.
                idle.insert(0, sender);
                return None;
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<ForwardBody>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }
}

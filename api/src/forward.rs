//! The way to the other shards: the same HTTP over their Unix sockets, one hop at most.
//!
//! A shard that is asked for another's task sends the request on and streams the answer back.
//! Connections are kept and used again, though not for so long that the other side may be closing them. A shard that
//! does not answer has lost its tasks; whether its states are, it tells when it is back.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use vyr_core::id::ShardNumber;
use vyr_core::limits::HttpLimits;
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
/// Largest operation on a state of another shard, and largest answer to it: a batch with its keys.
pub(crate) const STATE_REQUEST_BYTES_MAX: usize = 8 << 20;

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
    /// Longest time that a connection is kept without use.
    idle_time_max: Duration,
    /// Requests sent on, those for joint answers not counted.
    hops: Counter,
}

struct Peer {
    socket: PathBuf,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<ForwardBody>,
    since: Instant,
}

/// The other shard could not be reached, or broke off.
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
        limits: &HttpLimits,
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
            write_pause_max: Duration::from_millis(limits.write_pause_ms_max),
            // The other side has the same limits, and closes a connection on which no head comes for so long. A
            // request that is sent just then gets no answer.
            idle_time_max: Duration::from_millis(limits.header_ms_max) / 2,
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
        if let Some(mut sender) = peer.idle(self.idle_time_max) {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    peer.keep(sender);
                    return Ok(response);
                }
                // The other side may close an idle connection just now. What was not sent is sent
                // again; only a new connection tells whether the shard is gone.
                Err(mut failed) => {
                    // When one was closed, so were most likely the others. A busy one ends with its answer.
                    peer.idle.borrow_mut().clear();
                    match failed.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(unreachable(failed.error().to_string())),
                    }
                }
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
        let uri = match query {
            "" => part.path().to_owned(),
            query => format!("{}?{query}", part.path()),
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(Bytes::new());
        self.exchange(shard, request, PART_BYTES_MAX, true).await
    }

    /// Asks another shard for an operation on one of its states.
    pub(crate) async fn ask_state(
        &self,
        shard: ShardNumber,
        operation: Bytes,
        may_repeat: bool,
    ) -> Result<Bytes, Unreachable> {
        self.hops.inc();
        let request = Request::post(Internal::StateRequest.path()).body(operation);
        self.exchange(shard, request, STATE_REQUEST_BYTES_MAX, may_repeat)
            .await
    }

    /// One request with its whole answer. What may be asked twice is asked again on a new connection, because one that
    /// was kept may break off.
    async fn exchange(
        &self,
        shard: ShardNumber,
        request: http::Result<Request<Bytes>>,
        bytes_max: usize,
        may_repeat: bool,
    ) -> Result<Bytes, Unreachable> {
        let unreachable = |reason: String| Unreachable { shard, reason };
        let mut request = request.map_err(|error| unreachable(error.to_string()))?;
        let host = HeaderValue::from_static("shard");
        request.headers_mut().insert(http::header::HOST, host);
        let once = async |request: Request<Bytes>| {
            let response = self.send(shard, request.map(own_body)).await?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(unreachable(format!("it answers {status}")));
            }
            let body = Limited::new(response.into_body(), bytes_max)
                .collect()
                .await;
            body.map(Collected::to_bytes)
                .map_err(|error| unreachable(error.to_string()))
        };
        match once(request.clone()).await {
            Err(error) if may_repeat => {
                tracing::debug!(%error, "asked once more");
                once(request).await
            }
            answer => answer,
        }
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
    fn idle(&self, time_max: Duration) -> Option<SendRequest<ForwardBody>> {
        let mut idle = self.idle.borrow_mut();
        // One that is not ready is busy with an answer that its client has not read to the end.
        idle.retain(|one| {
            let is_busy = !one.sender.is_ready();
            !one.sender.is_closed() && (is_busy || one.since.elapsed() < time_max)
        });
        let ready = idle.iter().rposition(|one| one.sender.is_ready())?;
        Some(idle.remove(ready).sender)
    }

    fn keep(&self, sender: SendRequest<ForwardBody>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            let since = Instant::now();
            idle.push(Idle { sender, since });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use vyr_shard::rt::{ExecutorConfig, ExecutorKind};

    use super::*;

    /// What a shard has seen.
    #[derive(Default)]
    struct Seen {
        connections: AtomicUsize,
        requests: AtomicUsize,
    }

    impl Seen {
        fn both(&self) -> (usize, usize) {
            let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
            (read(&self.connections), read(&self.requests))
        }
    }

    /// A shard whose first connection breaks off when the second request is read from it.
    fn breaking(socket: &std::path::Path) -> Arc<Seen> {
        let listener = UnixListener::bind(socket).expect("a free path");
        let seen = Arc::new(Seen::default());
        let counts = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let number = counts.connections.fetch_add(1, Ordering::SeqCst);
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || answer(stream, number, &counts));
            }
        });
        seen
    }

    fn answer(stream: UnixStream, number: usize, counts: &Seen) {
        let mut writer = stream.try_clone().expect("a socket");
        let mut reader = BufReader::new(stream);
        let mut requests = 0;
        while read_request(&mut reader).is_some() {
            counts.requests.fetch_add(1, Ordering::SeqCst);
            requests += 1;
            if number == 0 && requests == 2 {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            writer.write_all(answer).expect("it is read");
        }
    }

    fn read_request(reader: &mut BufReader<UnixStream>) -> Option<()> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()
    }

    fn with_peer(header_ms_max: u64, test: impl AsyncFn(Peers, Arc<Seen>)) {
        let config = ExecutorConfig {
            kind: ExecutorKind::Epoll,
            cpu: None,
            name: "test".into(),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("shard");
        let seen = breaking(&socket);
        let limits = HttpLimits {
            header_ms_max,
            ..HttpLimits::default()
        };
        let run = rt::run(&config, || async {
            let sockets = vec![socket.clone(), socket.clone()];
            let peers = Peers::new(ShardNumber(0), sockets, &limits, Counter::default());
            test(peers, seen).await;
        });
        run.expect("the executor runs");
    }

    async fn ask(peers: &Peers, may_repeat: bool) -> Result<Bytes, Unreachable> {
        let operation = Bytes::from_static(b"an operation");
        peers.ask_state(ShardNumber(1), operation, may_repeat).await
    }

    #[test]
    fn what_may_be_asked_twice_is_asked_on_a_new_connection_when_one_breaks() {
        with_peer(60_000, async |peers, seen| {
            ask(&peers, true).await.expect("an answer");
            assert_eq!(ask(&peers, true).await.expect("an answer"), "ok");
            assert_eq!(seen.both(), (2, 3));
        });
    }

    #[test]
    fn a_write_is_not_asked_twice() {
        with_peer(60_000, async |peers, seen| {
            ask(&peers, false).await.expect("an answer");
            ask(&peers, false).await.expect_err("nobody knows");
            assert_eq!(seen.both(), (1, 2));
            ask(&peers, false).await.expect("a new connection");
        });
    }

    #[test]
    fn an_idle_connection_beside_a_busy_one_is_used() {
        with_peer(60_000, async |peers, seen| {
            // The first connection breaks with its second request.
            ask(&peers, true).await.expect("an answer");
            ask(&peers, true).await.expect("an answer");
            let get = || Request::new(http_body_util::Empty::new().map_err(|never| match never {}));
            let forward = || peers.forward(ShardNumber(1), get());
            let (read, unread) = futures_lite::future::zip(forward(), forward()).await;
            let read = read.expect("an answer").into_body().collect().await;
            assert_eq!(read.expect("its body").to_bytes(), "ok");
            rt::sleep(Duration::from_millis(20)).await;
            assert_eq!(ask(&peers, false).await.expect("an answer"), "ok");
            assert_eq!(seen.both(), (3, 6));
            drop(unread);
        });
    }

    #[test]
    fn a_connection_is_not_used_when_the_other_side_may_be_closing_it() {
        with_peer(100, async |peers, seen| {
            ask(&peers, false).await.expect("an answer");
            rt::sleep(Duration::from_millis(60)).await;
            ask(&peers, false).await.expect("an answer");
            assert_eq!(seen.both(), (2, 2));
        });
    }
}

//! Listens, accepts, and serves connections until the shard stops.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::sync::watch;
use vyr_core::metrics::Gauge;
use vyr_shard::rt;

use crate::app::{App, Origin};
use crate::failure::Failure;
use crate::io::{Connection, RtTimer};

/// Where a shard takes requests.
pub struct Listeners {
    /// The node's address, shared with the other shards by `SO_REUSEPORT`.
    pub tcp: rt::TcpListener,
    /// The shard's own address.
    pub own: rt::TcpListener,
    /// The shard's own socket.
    pub unix: rt::UnixListener,
}

/// What a connection gets that is one too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves until `stop` completes, then lets open connections finish their requests, and returns
/// when none is left.
pub async fn serve(app: &Rc<App>, listeners: Listeners, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let server = Rc::new(Server {
        app: Rc::clone(app),
        clients: Rc::default(),
        shards: Rc::default(),
        stopped,
    });
    let open = [&server.clients, &server.shards].map(Rc::clone);
    for tcp in [listeners.tcp, listeners.own] {
        let server = Rc::clone(&server);
        rt::spawn(async move {
            server.accept(Origin::Tcp, || tcp.accept()).await;
        });
    }
    rt::spawn(async move {
        let unix = listeners.unix;
        server.accept(Origin::Unix, || unix.accept()).await;
    });
    stop.await;
    stopping.send_replace(true);
    while open.iter().any(|count| count.get() > 0) {
        rt::sleep(Duration::from_millis(5)).await;
    }
}

struct Server {
    app: Rc<App>,
    /// Connections of clients.
    clients: Rc<Cell<usize>>,
    /// Connections of other shards: theirs have to find room when clients take all there is.
    shards: Rc<Cell<usize>>,
    stopped: watch::Receiver<bool>,
}

/// Counts one open connection, for the bound and for the metrics.
struct Open {
    count: Rc<Cell<usize>>,
    gauge: Gauge,
}

impl Open {
    fn new(count: &Rc<Cell<usize>>, gauge: &Gauge) -> Self {
        count.set(count.get() + 1);
        gauge.add(1);
        Self {
            count: Rc::clone(count),
            gauge: gauge.clone(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.gauge.add(-1);
    }
}

impl Server {
    /// Accepts until the shard stops. The listener is dropped with the future that ends here.
    async fn accept<F, A>(self: Rc<Self>, origin: Origin, mut accept: impl FnMut() -> F)
    where
        F: Future<Output = std::io::Result<(rt::Stream, A)>>,
    {
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = {
                let accepting = async { Some(accept().await) };
                let stopping = async {
                    // An error means that the server is gone, which is a stop too.
                    let _ = stopped.wait_for(|stopped| *stopped).await;
                    None
                };
                futures_lite::future::or(stopping, accepting).await
            };
            match accepted {
                None => return,
                Some(Ok((stream, _))) => self.admit(origin, stream),
                Some(Err(error)) => tracing::warn!(%error, "a connection could not be accepted"),
            }
        }
    }

    fn admit(self: &Rc<Self>, origin: Origin, mut stream: rt::Stream) {
        let max = self.app.limits.connections_max;
        let (count, max) = match origin {
            Origin::Tcp => (&self.clients, max),
            // As many as all the others' clients can cause.
            Origin::Unix => (&self.shards, max.saturating_mul(self.app.peers.count())),
        };
        if count.get() >= max {
            rt::spawn(async move {
                // The client is told if it listens; it is turned away in any case.
                let _ = rt::timeout(Duration::from_millis(100), stream.write_all(TOO_MANY)).await;
            });
            return;
        }
        let open = Open::new(count, self.app.shard.connections());
        let server = Rc::clone(self);
        rt::spawn(async move {
            server.connection(origin, stream).await;
            drop(open);
        });
    }

    async fn connection(&self, origin: Origin, stream: rt::Stream) {
        let limits = &self.app.limits;
        let io = Connection::new(stream, Duration::from_millis(limits.write_pause_ms_max))
            .holding_writes();
        let service = service_fn(|request| {
            let app = Rc::clone(&self.app);
            async move {
                let answer = app.serve(origin, request).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(Failure::into_response))
            }
        });
        let connection = http1::Builder::new()
            .timer(RtTimer)
            .header_read_timeout(Duration::from_millis(limits.header_ms_max))
            .max_headers(limits.header_fields_max)
            .max_buf_size(limits.header_bytes_max)
            .serve_connection(io, service);
        let mut connection = pin!(connection);
        let mut stopped = self.stopped.clone();
        let mut stopping = pin!(async move {
            // An error means that the server is gone, which is a stop too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        let mut asked = false;
        let mut is_waiting = false;
        let ended = poll_fn(|context| {
            // While it waits it need not be polled at each step of a request: that nothing has changed costs less to see.
            let is_due = !is_waiting || self.stopped.has_changed().unwrap_or(true);
            if !asked && is_due {
                match stopping.as_mut().poll(context) {
                    Poll::Pending => is_waiting = true,
                    Poll::Ready(()) => {
                        asked = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
            match connection.as_mut().poll(context) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

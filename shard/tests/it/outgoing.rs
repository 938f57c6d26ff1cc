//! Guests' calls to other hosts: which are permitted, how long they may take, and what is left after.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vyr_core::artifact::{Capabilities, Manifest};
use vyr_core::digest::Digest;
use vyr_core::limits::{OutgoingLimits, ShardLimits};
use vyr_core::task::Status;
use vyr_shard::{Shard, ShardConfig};

use crate::support::*;

/// A server on loopback that answers by the path, and counts.
struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let counting = Arc::clone(&counting);
                std::thread::spawn(move || {
                    // A client that goes away in the middle is what some tests want.
                    let _ = serve(stream, &counting);
                    counting.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, counts }
    }

    fn count(&self, counter: impl Fn(&Counts) -> &AtomicUsize) -> usize {
        counter(&self.counts).load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, counts: &Counts) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/silent" => {
                // Until the client gives up.
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            "/close" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
                return Ok(());
            }
            "/stall" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")?;
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            "/headers" => {
                let head = head.to_ascii_lowercase();
                let trace = head.contains("\r\ntraceparent: 00-");
                let host = head.contains(&format!("\r\nhost: {}\r\n", stream.local_addr()?));
                let status = if trace && host { 200 } else { 400 };
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")?;
            }
            path => {
                let length = path.trim_start_matches('/').parse().unwrap_or(2);
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
                )?;
                stream.write_all(&vec![b'x'; length])?;
            }
        }
    }
}

fn calling(hosts: &[&str]) -> Manifest {
    Manifest {
        capabilities: Capabilities {
            outgoing_hosts: hosts.iter().map(ToString::to_string).collect(),
            ..Capabilities::default()
        },
        ..Manifest::default()
    }
}

/// A shard whose node permits these hosts.
fn with_permitted(hosts: &[&str], limits: OutgoingLimits, test: impl AsyncFn(Rc<Shard>)) {
    let config = ShardConfig {
        outgoing_hosts: hosts
            .iter()
            .map(|host| host.parse().expect("a host"))
            .collect(),
        outgoing_limits: limits,
        ..config(ShardLimits::default())
    };
    on_each_executor_with(config, test);
}

/// What the guest got, and its log.
async fn fetch(shard: &Rc<Shard>, artifact: &Digest, url: &str) -> (String, String) {
    let request = get(&format!("/outgoing?url={url}"));
    let (task, response) = shard
        .invoke(artifact, request, shard.trace(None))
        .await
        .expect("accepted");
    let answer = text(response.expect("a response")).await;
    ended(&task).await;
    assert_eq!(task.status(), Status::Succeeded);
    (answer, String::from_utf8_lossy(&task.logs()).into_owned())
}

#[test]
fn only_what_manifest_and_node_name_is_called() {
    let server = Server::start();
    let named = server.address.to_string();
    let url = format!("http://{named}/5");
    let denied = "HttpRequestDenied";
    for (declared, permitted, answer, log) in [
        (&[&*named][..], &[&*named][..], "status 200, 5 bytes", ""),
        (&[], &["*"], denied, "outgoing_hosts"),
        (&[&*named], &[], denied, "--outgoing-host"),
        // Loopback must be named by both.
        (
            &[&*named],
            &["*"],
            "DestinationIpProhibited",
            "on this machine or link",
        ),
    ] {
        with_permitted(permitted, OutgoingLimits::default(), async |shard| {
            let probe = adopt(&shard, "probe.wasm", calling(declared)).await;
            let (got, said) = fetch(&shard, &probe, &url).await;
            assert!(got.contains(answer), "{got}");
            assert!(said.contains(log), "{said}");
        });
    }
    // A name that leads to loopback without saying so.
    with_permitted(&["*"], OutgoingLimits::default(), async |shard| {
        let port = server.address.port();
        let probe = adopt(
            &shard,
            "probe.wasm",
            calling(&[
                &format!("ip6-localhost:{port}"),
                &format!("localhost:{port}"),
            ]),
        )
        .await;
        let (got, _) = fetch(&shard, &probe, &format!("http://localhost:{port}/")).await;
        assert!(got.contains("DestinationIpProhibited"), "{got}");
    });
}

#[test]
fn a_request_carries_host_and_trace() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        let (got, _) = fetch(&shard, &probe, &format!("http://{named}/headers")).await;
        assert_eq!(got, "status 200, 0 bytes\n");
    });
}

#[test]
fn a_connection_is_used_again_by_the_same_artifact_only() {
    let server = Server::start();
    let named = server.address.to_string();
    let other = Server::start().address.to_string();
    let before = RefCell::new(0);
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let url = format!("http://{named}/3");
        let first = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        // The same bytes have the same digest; other bytes are another artifact.
        let second = adopt(&shard, "probe-again.wasm", calling(&[&named, &other])).await;
        assert_ne!(first, second);
        for _ in 0..5 {
            fetch(&shard, &first, &url).await;
        }
        assert_eq!(
            server.count(|counts| &counts.connections) - *before.borrow(),
            1
        );
        fetch(&shard, &second, &url).await;
        assert_eq!(
            server.count(|counts| &counts.connections) - *before.borrow(),
            2
        );
        // One that the server closed is not used again.
        for _ in 0..3 {
            let (got, _) = fetch(&shard, &first, &format!("http://{named}/close")).await;
            assert_eq!(got, "status 200, 2 bytes\n");
        }
        before.replace(server.count(|counts| &counts.connections));
    });
}

#[test]
fn time_and_size_are_bounded() {
    let server = Server::start();
    let named = server.address.to_string();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").to_string()
    };
    let limits = OutgoingLimits {
        connect_ms_max: 100,
        first_byte_ms_max: 100,
        between_bytes_ms_max: 100,
        response_bytes_max: 1000,
        ..OutgoingLimits::default()
    };
    let hosts = [&*named, &*closed];
    with_permitted(&hosts, limits, async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&hosts)).await;
        let got = async |url: String| fetch(&shard, &probe, &url).await.0;
        assert!(
            got(format!("http://{closed}/"))
                .await
                .contains("ConnectionRefused")
        );
        assert!(
            got(format!("http://{named}/silent"))
                .await
                .contains("HttpResponseTimeout")
        );
        let stalled = got(format!("http://{named}/stall")).await;
        assert!(stalled.contains("after 4 bytes"), "{stalled}");
        assert_eq!(
            got(format!("http://{named}/1000")).await,
            "status 200, 1000 bytes\n"
        );
        let large = got(format!("http://{named}/100000")).await;
        assert!(large.contains("error: after"), "{large}");
        let https = got(format!("https://{named}/")).await;
        assert!(
            https.contains("Tls") || https.contains("Timeout"),
            "{https}"
        );
    });
}

#[test]
fn a_task_has_so_many_requests_under_way() {
    let server = Server::start();
    let named = server.address.to_string();
    let limits = OutgoingLimits {
        requests_per_task_max: 5,
        ..OutgoingLimits::default()
    };
    with_permitted(&[&named], limits, async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        for _ in 0..2 {
            let request = get(&format!("/outgoing-many?count=9&url=http://{named}/silent"));
            let (task, response) = shard
                .invoke(&probe, request, shard.trace(None))
                .await
                .expect("accepted");
            let answer = text(response.expect("a response")).await;
            assert!(
                answer.starts_with("5 sent, then ConnectionLimitReached")
                    || answer.starts_with("5 sent, then ErrorCode::ConnectionLimitReached"),
                "{answer}"
            );
            ended(&task).await;
        }
    });
}

#[test]
fn a_stopped_task_ends_its_exchange() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        let closed = server.count(|counts| &counts.closed);
        let request = get(&format!("/outgoing?url=http://{named}/silent"));
        let requests = server.count(|counts| &counts.requests);
        let invoked = shard.invoke(&probe, request, shard.trace(None));
        let stopping = async {
            until("the server has it", || {
                server.count(|counts| &counts.requests) > requests
            })
            .await;
            for task in shard.tasks(None, 10, |task| task.status() == Status::Running) {
                if let Ok(vyr_shard::Found::Known(task)) = shard.task(task.id) {
                    task.cancel();
                }
            }
        };
        let (invoked, ()) = futures_lite::future::zip(invoked, stopping).await;
        let (task, response) = invoked.expect("accepted");
        assert!(response.is_none());
        ended(&task).await;
        assert_eq!(task.status(), Status::Cancelled);
        until("the connection is closed", || {
            server.count(|counts| &counts.closed) > closed
        })
        .await;
    });
}

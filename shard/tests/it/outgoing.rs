//! Guests' calls to other hosts: which are permitted, how long they may take, and what is left after.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vyr_core::artifact::{Capabilities, InstancePolicy, Manifest};
use vyr_core::digest::Digest;
use vyr_core::limits::{OutgoingLimits, ShardLimits};
use vyr_core::task::Status;
use vyr_shard::{Shard, ShardConfig};

use crate::support::*;

/// What the guest sends where a test lets it send something: more than all buffers hold.
const UPLOAD_BYTES: usize = 20 << 20;

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
            "/cut" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")?;
                return Ok(());
            }
            "/upgrade" => {
                stream.write_all(b"HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")?;
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            "/chunked" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                write!(stream, "3e8\r\n{}\r\n", "x".repeat(1000))?;
                // The guest has the first chunk before the second comes.
                std::thread::sleep(std::time::Duration::from_millis(20));
                stream.write_all(b"1\r\nx\r\n0\r\n\r\n")?;
            }
            "/upload" => {
                let length = read_chunks(&mut reader)?;
                let status = if length == UPLOAD_BYTES { 200 } else { 400 };
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")?;
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

/// The length of a body in chunks (RFC 9112, 7.1).
fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
        // What follows a chunk is a line end.
        reader.read_exact(&mut vec![0; size + 2])?;
        if size == 0 {
            return Ok(length);
        }
        length += size;
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
        .invoke(artifact, request, shard.arrival(None))
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
        for _ in 0..20 {
            let closed = server.count(|counts| &counts.closed);
            let (got, _) = fetch(&shard, &first, &format!("http://{named}/close")).await;
            assert_eq!(got, "status 200, 2 bytes\n");
            until("the server has closed it", || {
                server.count(|counts| &counts.closed) > closed
            })
            .await;
            // The close is in the kernel; the executor must have looked. One that it has not seen may
            // be taken for a request that is then lost with it.
            vyr_shard::rt::sleep(std::time::Duration::from_millis(1)).await;
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
        assert!(stalled.contains("connection read timeout"), "{stalled}");
        let upgraded = got(format!("http://{named}/upgrade")).await;
        assert!(upgraded.contains("HttpProtocolError"), "{upgraded}");
        assert_eq!(
            got(format!("http://{named}/1000")).await,
            "status 200, 1000 bytes\n"
        );
        let large = got(format!("http://{named}/100000")).await;
        assert!(
            large.contains("HttpResponseBodySize(Some(100000))"),
            "{large}"
        );
        let chunked = got(format!("http://{named}/chunked")).await;
        assert!(chunked.contains("after 1000 bytes"), "{chunked}");
        assert!(chunked.contains("body size exceeds limit"), "{chunked}");
        let cut = got(format!("http://{named}/cut")).await;
        assert!(cut.contains("incomplete HTTP response"), "{cut}");
        let https = got(format!("https://{named}/")).await;
        assert!(
            https.contains("Tls") || https.contains("Timeout"),
            "{https}"
        );
    });
}

#[test]
fn a_stopped_task_ends_its_exchange() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        // Before the response and inside of it.
        for path in ["/silent", "/stall"] {
            let (closed, requests) = (
                server.count(|counts| &counts.closed),
                server.count(|counts| &counts.requests),
            );
            let url = format!("http://{named}{path}");
            let invoked = hold(&shard, &probe, &url);
            let stopping = async {
                until("the server has it", || {
                    server.count(|counts| &counts.requests) > requests
                })
                .await;
                // Time for the head of the response to reach the guest, or else it is the first case
                // again.
                vyr_shard::rt::sleep(std::time::Duration::from_millis(50)).await;
                cancel_all(&shard);
            };
            futures_lite::future::zip(invoked, stopping).await;
            until("the connection is closed", || {
                server.count(|counts| &counts.closed) > closed
            })
            .await;
        }
    });
}

/// A call that lasts until its task is cancelled.
async fn hold(shard: &Rc<Shard>, artifact: &Digest, url: &str) {
    let request = get(&format!("/outgoing?url={url}"));
    let invoked = shard.invoke(artifact, request, shard.arrival(None)).await;
    let (task, response) = invoked.expect("accepted");
    assert!(response.is_none());
    ended(&task).await;
    assert_eq!(task.status(), Status::Cancelled);
}

fn cancel_all(shard: &Rc<Shard>) {
    for task in shard.tasks(None, 10, |task| task.status() == Status::Running) {
        if let Ok(vyr_shard::Found::Known(task)) = shard.task(task.id) {
            task.cancel();
        }
    }
}

#[test]
fn guests_that_hold_responses_reach_the_bound_of_connections() {
    let server = Server::start();
    let named = server.address.to_string();
    let limits = OutgoingLimits {
        connections_max: 2,
        ..OutgoingLimits::default()
    };
    with_permitted(&[&named], limits, async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        // An idle connection makes room for one that is needed.
        fetch(&shard, &probe, &format!("http://{named}/3")).await;
        let requests = server.count(|counts| &counts.requests);
        let url = format!("http://{named}/stall");
        let two = futures_lite::future::zip(hold(&shard, &probe, &url), hold(&shard, &probe, &url));
        let third = async {
            until("both are held", || {
                server.count(|counts| &counts.requests) == requests + 2
            })
            .await;
            let (got, said) = fetch(&shard, &probe, &format!("http://{named}/3")).await;
            assert!(got.contains("ConnectionLimitReached"), "{got}");
            assert!(said.contains("connections_max"), "{said}");
            cancel_all(&shard);
        };
        futures_lite::future::zip(two, third).await;
        // What was held is free again.
        loop {
            let (got, _) = fetch(&shard, &probe, &format!("http://{named}/3")).await;
            if got == "status 200, 3 bytes\n" {
                break;
            }
            assert!(got.contains("ConnectionLimitReached"), "{got}");
        }
    });
}

#[test]
fn a_body_is_sent_as_fast_as_it_is_taken() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        let url = format!("http://{named}/upload&upload-bytes={UPLOAD_BYTES}");
        let (got, _) = fetch(&shard, &probe, &url).await;
        assert_eq!(got, "status 200, 0 bytes\n");
    });
}

#[test]
fn a_guest_may_wait_less_than_the_node_lets_it() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        let started = std::time::Instant::now();
        let url = format!("http://{named}/silent&first-byte-ms=50");
        let (got, _) = fetch(&shard, &probe, &url).await;
        assert!(got.contains("HttpResponseTimeout"), "{got}");
        // The time to connect, which it did not ask for, is not added.
        let connect_ms_max = u128::from(OutgoingLimits::default().connect_ms_max);
        assert!(started.elapsed().as_millis() < connect_ms_max);
    });
}

#[test]
fn an_exchange_lasts_no_longer_than_the_node_lets_it() {
    let server = Server::start();
    let named = server.address.to_string();
    let limits = OutgoingLimits {
        total_ms_max: 100,
        ..OutgoingLimits::default()
    };
    with_permitted(&[&named], limits, async |shard| {
        let probe = adopt(&shard, "probe.wasm", calling(&[&named])).await;
        // An error before the response is a code, one inside of it a text.
        for (path, error) in [
            ("/silent", "HttpResponseTimeout"),
            ("/stall", "after 4 bytes: HTTP response timeout"),
        ] {
            let (got, _) = fetch(&shard, &probe, &format!("http://{named}{path}")).await;
            assert!(got.contains(error), "{path}: {got}");
        }
    });
}

#[test]
fn a_command_and_a_reused_instance_call_as_well() {
    let server = Server::start();
    let named = server.address.to_string();
    with_permitted(&[&named], OutgoingLimits::default(), async |shard| {
        let mut manifest = calling(&[&named]);
        manifest.instances.policy = InstancePolicy::Reuse;
        let probe = adopt(&shard, "probe.wasm", manifest).await;
        let url = format!("http://{named}/headers");
        let command = run(&shard, submit(&shard, probe, &["fetch", &url])).await;
        assert_eq!(output(&command), "status 200, 0 bytes\n");
        for other in ["http://other.example/", "http://another.example/"] {
            let (got, _) = fetch(&shard, &probe, &url).await;
            assert_eq!(got, "status 200, 0 bytes\n");
            // Each task has what concerns it in its own log.
            let (_, said) = fetch(&shard, &probe, other).await;
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains(&other[7..other.len() - 1]), "{said}");
        }
    });
}

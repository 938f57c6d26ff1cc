//! Listeners: queues, sharing, running out of descriptors.

use super::super::*;
use super::*;
use futures_lite::future::poll_once;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

#[test]
fn two_share_a_port_only_when_both_agree() {
    on_both(async |_| {
        let shared = ListenOptions {
            reuse_port: true,
            ..ListenOptions::default()
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = TcpListener::bind(any, shared).expect("bind");
        let second = TcpListener::bind(first.local_addr(), shared).expect("bind again");
        let counts = Rc::new(Cell::new((0, 0)));
        let address = first.local_addr();
        for (listener, is_first) in [(first, true), (second, false)] {
            let counts = Rc::clone(&counts);
            spawn(async move {
                while listener.accept().await.is_ok() {
                    let (one, two) = counts.get();
                    counts.set(if is_first {
                        (one + 1, two)
                    } else {
                        (one, two + 1)
                    });
                }
            });
        }
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(Stream::connect_tcp(address).await.expect("connect"));
        }
        eventually("all are accepted", || {
            counts.get().0 + counts.get().1 == 200
        })
        .await;
        assert!(
            counts.get().0 > 0 && counts.get().1 > 0,
            "{:?}",
            counts.get()
        );

        let (_alone, taken) = listen();
        let refusal = TcpListener::bind(taken, shared)
            .map(|_| ())
            .expect_err("refused");
        assert_eq!(refusal.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn the_queue_holds_a_thousand() {
    alone("listening::the_queue_holds_a_thousand", || {
        on_both(async |_| {
            let (listener, address) = listen();
            let begun = Instant::now();
            let mut clients = Vec::new();
            for _ in 0..1000 {
                clients.push(Stream::connect_tcp(address).await.expect("connect"));
            }
            // One that does not fit is sent again after a second.
            assert!(
                begun.elapsed() < Duration::from_millis(900),
                "the queue was full"
            );
            for _ in 0..1000 {
                listener.accept().await.expect("accept");
            }
        });
    });
}

#[test]
fn a_full_queue_delays_and_loses_nothing() {
    on_both(async |kind| {
        let path = std::env::temp_dir().join(format!("vyr-rt-full-{}-{kind}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path, 1).expect("bind");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ListenOptions {
            backlog: 1,
            reuse_port: false,
        };
        let tcp = TcpListener::bind(any, options).expect("bind");
        let address = tcp.local_addr();
        let connected = Rc::new(Cell::new(0));
        for number in 0..12 {
            let (connected, path) = (Rc::clone(&connected), path.clone());
            spawn(async move {
                let stream = if number % 2 == 0 {
                    Stream::connect_tcp(address).await
                } else {
                    Stream::connect_unix(path).await
                };
                let mut stream = stream.expect("connect");
                stream.write_all(b"x").await.expect("write");
                read_exact(&mut stream, &mut [0; 1]).await;
                connected.set(connected.get() + 1);
            });
        }
        sleep(Duration::from_millis(50)).await;
        assert!(connected.get() < 12, "the queues were meant to be full");
        for _ in 0..6 {
            let (stream, _) = tcp.accept().await.expect("accept");
            spawn(echo(stream));
            let (stream, _) = unix.accept().await.expect("accept");
            spawn(echo(stream));
        }
        eventually("all are through", || connected.get() == 12).await;
        std::fs::remove_file(&path).expect("remove the socket");
    });
}

#[test]
fn a_dropped_accept_loses_no_connection() {
    on_both(async |_| {
        let (listener, address) = listen();
        for _ in 0..100 {
            assert!(poll_once(listener.accept()).await.is_none());
            let _client = Stream::connect_tcp(address).await.expect("connect");
            let accepted = timeout(Duration::from_secs(5), listener.accept()).await;
            accepted.expect("in time").expect("accept");
        }
    });
}

#[test]
fn running_out_of_descriptors_is_reported_and_survived() {
    alone(
        "listening::running_out_of_descriptors_is_reported_and_survived",
        || {
            let limit = getrlimit(Resource::Nofile);
            on_both(async |_| {
                let (listener, address) = listen();
                let _client = std::net::TcpStream::connect(address).expect("connect");
                let mut low = limit;
                low.current = Some(3);
                setrlimit(Resource::Nofile, low).expect("lower the limit");
                let failure = listener
                    .accept()
                    .await
                    .map(|_| ())
                    .expect_err("no descriptor left");
                assert_eq!(
                    failure.raw_os_error(),
                    Some(rustix::io::Errno::MFILE.raw_os_error())
                );
                let begun = Instant::now();
                let again = listener.accept().await.map(|_| ()).expect_err("still none");
                assert_eq!(again.raw_os_error(), failure.raw_os_error());
                assert!(begun.elapsed() >= Duration::from_millis(50), "it spins");
                setrlimit(Resource::Nofile, limit).expect("restore the limit");
                listener.accept().await.expect("it goes on");
            });
        },
    );
}

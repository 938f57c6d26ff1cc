//! Connections: their data, their ends, their errors.

use super::super::*;
use super::*;
use futures_lite::future::poll_once;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Write};
use std::mem::MaybeUninit;
use std::rc::Rc;

/// What a peer may send in these tests: no two neighbours alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect()
}

#[test]
fn echo_over_tcp() {
    on_both(async |_| {
        let (listener, address) = listen();
        spawn(async move {
            let (stream, peer) = listener.accept().await.expect("accept");
            assert_eq!(stream.peer_addr(), peer);
            assert!(peer.is_some() && stream.peer_uid().is_none());
            echo(stream).await;
        });
        let mut client = Stream::connect_tcp(address).await.expect("connect");
        client.set_nodelay(true).expect("nodelay");
        for _ in 0..100 {
            client.write_all(b"hello").await.expect("write");
            let mut got = [0; 5];
            read_exact(&mut client, &mut got).await;
            assert_eq!(&got, b"hello");
        }
    });
}

#[test]
fn echo_over_a_unix_socket() {
    on_both(async |kind| {
        let path = std::env::temp_dir().join(format!("vyr-rt-{}-{kind}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path, 16).expect("bind");
        spawn(async move {
            let (stream, peer) = listener.accept().await.expect("accept");
            assert!(peer.is_none());
            assert_eq!(stream.peer_uid(), Some(rustix::process::getuid().as_raw()));
            stream.set_nodelay(true).expect("nothing to do");
            echo(stream).await;
        });
        let mut client = Stream::connect_unix(&path).await.expect("connect");
        let sent = pattern(100_000);
        for part in sent.chunks(10_000) {
            client.write_all(part).await.expect("write");
            let mut got = vec![0; part.len()];
            read_exact(&mut client, &mut got).await;
            assert_eq!(got, part);
        }
        std::fs::remove_file(&path).expect("remove the socket");
    });
}

#[test]
fn partial_writes_lose_nothing() {
    on_both(async |_| {
        let (mut server, mut client) = tcp_pair().await;
        let sent = pattern(8 << 20);
        let expected = sent.clone();
        let (partial, parts) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        spawn({
            let (partial, parts) = (Rc::clone(&partial), Rc::clone(&parts));
            async move {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let middle = rest.len().min(1000);
                    let slices = [IoSlice::new(&rest[..middle]), IoSlice::new(&rest[middle..])];
                    let count = poll_fn(|cx| server.poll_write_vectored(cx, &slices)).await;
                    let count = count.expect("write");
                    partial.set(partial.get() || count < rest.len());
                    parts.set(parts.get() + 1);
                    rest = &rest[count..];
                }
                poll_fn(|cx| server.poll_flush(cx)).await.expect("flush");
            }
        });
        sleep(Duration::from_millis(20)).await;
        let mut got = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            match client.read(&mut buffer).await.expect("read") {
                0 => break,
                count => got.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(got == expected, "the bytes differ");
        assert!(
            partial.get() && parts.get() > 1,
            "nothing was written in part"
        );
        assert!(Stream::is_write_vectored());
    });
}

#[test]
fn half_close_leaves_the_other_half() {
    on_both(async |_| {
        let (mut server, mut client) = tcp_pair().await;
        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut got = Vec::new();
        let mut buffer = [0; 3];
        loop {
            match server.read(&mut buffer).await.expect("read") {
                0 => break,
                count => got.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(got, b"question");
        assert_eq!(
            server.read(&mut buffer).await.expect("read"),
            0,
            "the end stays the end"
        );
        server.write_all(b"answer").await.expect("write");
        drop(server);
        let mut answer = [0; 6];
        read_exact(&mut client, &mut answer).await;
        assert_eq!(&answer, b"answer");
        assert_eq!(client.read(&mut buffer).await.expect("read"), 0);
        let refusal = async {
            // The first write after the peer closed draws a reset, a later one sees it.
            loop {
                if let Err(cause) = client.write_all(b"late").await {
                    break cause.kind();
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        assert_eq!(refusal.await, ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_reset_is_an_error_and_not_the_end() {
    on_both(async |kind| {
        for parked in [false, true] {
            let (listener, address) = listen();
            let peer = std::net::TcpStream::connect(address).expect("connect");
            let (mut server, _) = listener.accept().await.expect("accept");
            let linger = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&peer, linger).expect("linger");
            let mut buffer = [0; 8];
            if parked {
                let mut read = Box::pin(server.read(&mut buffer));
                assert!(poll_once(&mut read).await.is_none());
                drop(peer);
                let failure = read.await.expect_err("an error");
                assert_eq!(failure.kind(), ErrorKind::ConnectionReset, "{kind}");
            } else {
                drop(peer);
                let failure = server.read(&mut buffer).await.expect_err("an error");
                assert_eq!(failure.kind(), ErrorKind::ConnectionReset, "{kind}");
            }
        }
    });
}

#[test]
fn a_refused_connect_is_an_error() {
    on_both(async |_| {
        let (listener, address) = listen();
        drop(listener);
        eventually("the port is free", || {
            std::net::TcpStream::connect(address).is_err()
        })
        .await;
        let failure = Stream::connect_tcp(address).await.expect_err("refused");
        assert_eq!(failure.kind(), ErrorKind::ConnectionRefused);
        let failure = Stream::connect_unix("/nonexistent/socket")
            .await
            .expect_err("not there");
        assert_eq!(failure.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_read_touches_only_what_it_fills() {
    on_both(async |_| {
        let (mut server, mut client) = tcp_pair().await;
        client.write_all(b"abc").await.expect("write");
        let mut buffer = [MaybeUninit::new(0xAA_u8); 4096];
        let count = poll_fn(|cx| server.poll_read(cx, &mut buffer))
            .await
            .expect("read");
        assert_eq!(count, 3);
        // The bytes behind are what they were: nothing filled the buffer with zeros.
        let mut touched = 0;
        let (written, rest) = buffer.split_at_mut(count);
        for byte in rest {
            touched += usize::from(*byte.write(0xAA) != 0xAA);
        }
        assert_eq!(touched, 0);
        assert_eq!(written.len(), 3);
        assert_eq!(
            poll_fn(|cx| server.poll_read(cx, &mut []))
                .await
                .expect("read"),
            0
        );
    });
}

#[test]
fn dropping_a_stream_tells_the_peer_even_with_a_read_parked() {
    on_both(async |_| {
        let (mut server, mut client) = tcp_pair().await;
        let mut buffer = [0; 8];
        assert!(poll_once(server.read(&mut buffer)).await.is_none());
        drop(server);
        let end = timeout(Duration::from_secs(5), client.read(&mut buffer)).await;
        assert_eq!(end.expect("in time").expect("read"), 0);
    });
}

#[test]
fn a_stream_moves_between_tasks() {
    on_both(async |_| {
        let (mut server, mut client) = tcp_pair().await;
        // Parked by this task first, then read by another, which must be the one woken.
        assert!(poll_once(server.read(&mut [0; 8])).await.is_none());
        let got = Rc::new(Cell::new(0));
        spawn({
            let got = Rc::clone(&got);
            async move {
                let mut buffer = [0; 8];
                got.set(server.read(&mut buffer).await.expect("read"));
            }
        });
        yield_to_io().await;
        client.write_all(b"1234").await.expect("write");
        eventually("the new reader has it", || got.get() == 4).await;
    });
}

#[test]
fn urgent_data_does_not_spin_the_executor() {
    alone("streams::urgent_data_does_not_spin_the_executor", || {
        on_both(async |kind| {
            let (listener, address) = listen();
            let mut peer = std::net::TcpStream::connect(address).expect("connect");
            let (mut server, _) = listener.accept().await.expect("accept");
            let urgent = rustix::net::SendFlags::OOB;
            rustix::net::send(&peer, b"!", urgent).expect("send");
            read_exact(&mut server, &mut [0; 1]).await;
            let reads = Rc::new(Cell::new(0));
            spawn({
                let reads = Rc::clone(&reads);
                async move {
                    let mut buffer = [0; 64];
                    while let Ok(count) = server.read(&mut buffer).await {
                        if count == 0 {
                            break;
                        }
                        reads.set(reads.get() + count);
                    }
                }
            });
            let before = cpu_time();
            sleep(Duration::from_millis(300)).await;
            let spent = cpu_time() - before;
            assert!(
                spent < Duration::from_millis(100),
                "{kind} spun for {spent:?}"
            );
            peer.write_all(b"more").expect("write");
            eventually("ordinary data still comes", || reads.get() == 4).await;
        });
    });
}

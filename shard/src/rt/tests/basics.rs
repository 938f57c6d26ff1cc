//! Starting, spawning, stopping.

use super::super::*;
use super::*;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

#[test]
fn echo_over_tcp() {
    on_both(async |kind| {
        assert_eq!(super::super::kind(), kind);
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let listener = TcpListener::bind(any, ListenOptions::default()).expect("bind");
        let address = listener.local_addr();
        spawn(async move {
            let (mut stream, peer) = listener.accept().await.expect("accept");
            assert!(peer.is_some());
            let mut buffer = [0; 64];
            loop {
                let count = stream.read(&mut buffer).await.expect("read");
                if count == 0 {
                    break;
                }
                stream.write_all(&buffer[..count]).await.expect("write");
            }
        });
        let mut client = Stream::connect_tcp(address).await.expect("connect");
        for _ in 0..100 {
            client.write_all(b"hello").await.expect("write");
            let mut buffer = [0; 64];
            let mut got = 0;
            while got < 5 {
                got += client.read(&mut buffer[got..]).await.expect("read");
            }
            assert_eq!(&buffer[..5], b"hello");
        }
        client.shutdown().await.expect("shutdown");
        assert_eq!(client.read(&mut [0; 8]).await.expect("read"), 0);
    });
}

#[test]
fn a_panic_ends_its_task_only() {
    on_both(async |_| {
        let before = panics();
        let reached = Rc::new(Cell::new(false));
        spawn(async { panic!("on purpose") });
        spawn({
            let reached = Rc::clone(&reached);
            async move { reached.set(true) }
        });
        eventually("the other task runs", || reached.get()).await;
        assert!(panics() > before);
    });
}

#[test]
fn run_ends_while_tasks_are_parked() {
    on_both(async |_| {
        spawn(async { sleep(Duration::from_secs(1000)).await });
        spawn(std::future::pending());
        yield_to_io().await;
    });
}

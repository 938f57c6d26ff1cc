//! Nothing grows: memory and descriptors after very many of everything.
//!
//! Each runs in a process of its own, since it looks at the whole process.

use super::super::*;
use super::*;
use futures_lite::future::poll_once;
use std::cell::Cell;
use std::rc::Rc;

/// What 100,000 leaks of a few dozen bytes exceed and noise does not.
const GROWTH_BYTES_MAX: usize = 1 << 20;

/// Runs `round` once to warm up, then again, and compares the memory.
async fn assert_no_growth(what: &str, mut round: impl AsyncFnMut()) {
    round().await;
    let before = resident_bytes();
    round().await;
    let grown = resident_bytes().saturating_sub(before);
    println!("{what}: {grown} bytes");
    assert!(grown < GROWTH_BYTES_MAX, "{what} leaks: {grown} bytes");
}

#[test]
fn dropped_futures_leave_nothing() {
    alone("growth::dropped_futures_leave_nothing", || {
        on_both(async |kind| {
            const ROUNDS: usize = 100_000;
            assert_no_growth(&format!("{kind}: sleeps"), async || {
                for number in 0..ROUNDS {
                    drop(sleep(Duration::from_secs(60)));
                    let mut polled = sleep(Duration::from_secs(60));
                    assert!(poll_once(&mut polled).await.is_none());
                    polled.reset(Instant::now() + Duration::from_secs(90));
                    assert!(poll_once(&mut polled).await.is_none());
                    drop(polled);
                    let pending = std::future::pending::<()>();
                    let mut waiting = Box::pin(timeout(Duration::from_secs(60), pending));
                    assert!(poll_once(&mut waiting).await.is_none());
                    if number % 100 == 0 {
                        yield_to_io().await;
                    }
                }
            })
            .await;

            let (listener, _) = listen();
            let (mut server, _client) = tcp_pair().await;
            let (_sender, mut receiver) = mailbox::bounded::<u32>(1);
            assert_no_growth(&format!("{kind}: parked waits"), async || {
                for number in 0..ROUNDS {
                    assert!(poll_once(listener.accept()).await.is_none());
                    assert!(poll_once(parked_read(&mut server)).await.is_none());
                    if number % 100 == 0 {
                        yield_to_io().await;
                    }
                }
            })
            .await;
            assert!(poll_once(receiver.recv()).await.is_none());

            assert_no_growth(
                &format!("{kind}: one read polled again and again"),
                async || {
                    let mut buffer = [0; 8];
                    let mut read = Box::pin(server_read(&mut buffer).await);
                    for number in 0..ROUNDS {
                        assert!(poll_once(&mut read).await.is_none());
                        if number % 100 == 0 {
                            yield_to_io().await;
                        }
                    }
                },
            )
            .await;

            assert_no_growth(&format!("{kind}: tasks"), async || {
                let ended = Rc::new(Cell::new(0));
                for number in 0..ROUNDS {
                    let ended = Rc::clone(&ended);
                    spawn(async move {
                        let mut race = Box::pin(sleep(Duration::from_secs(60)));
                        assert!(poll_once(&mut race).await.is_none());
                        ended.set(ended.get() + 1);
                    });
                    if number % 100 == 0 {
                        yield_to_io().await;
                    }
                }
                eventually("all end", || ended.get() == ROUNDS).await;
            })
            .await;

            assert_no_growth(&format!("{kind}: yields"), async || {
                for _ in 0..ROUNDS / 4 {
                    drop(yield_to_io());
                    assert!(poll_once(yield_to_io()).await.is_none());
                    yield_to_io().await;
                }
            })
            .await;
        });
    });
}

/// A read that is parked when dropped.
async fn parked_read(stream: &mut Stream) -> std::io::Result<usize> {
    stream.read(&mut [0; 8]).await
}

/// A read of a connection to which nobody writes.
async fn server_read(buffer: &mut [u8]) -> impl Future<Output = std::io::Result<usize>> {
    let (mut server, client) = tcp_pair().await;
    async move {
        let _client = client;
        server.read(buffer).await
    }
}

#[test]
fn ten_thousand_connections_leave_no_descriptor() {
    alone(
        "growth::ten_thousand_connections_leave_no_descriptor",
        || {
            on_both(async |kind| {
                let (listener, address) = listen();
                spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        spawn(echo(stream));
                    }
                });
                let round = async || {
                    let mut buffer = [0; 4];
                    for number in 0..5_000 {
                        let mut client = Stream::connect_tcp(address).await.expect("connect");
                        client.write_all(b"ping").await.expect("write");
                        if number % 2 == 0 {
                            read_exact(&mut client, &mut buffer).await;
                        } else {
                            // Left with a read parked and data on the way.
                            let _ = poll_once(client.read(&mut buffer)).await;
                        }
                        // No TIME_WAIT: ten thousand of those would exhaust the ports.
                        let linger = Some(Duration::ZERO);
                        rustix::net::sockopt::set_socket_linger(&client, linger).expect("linger");
                    }
                };
                let before = open_descriptors();
                assert_no_growth(&format!("{kind}: connections"), round).await;
                eventually("all descriptors are back", || open_descriptors() <= before).await;
            });
        },
    );
}

#[test]
fn executors_give_everything_back() {
    alone("growth::executors_give_everything_back", || {
        for kind in kinds() {
            let use_everything = || {
                on(kind, || async {
                    let (listener, _) = listen();
                    let (mut server, client) = tcp_pair().await;
                    spawn(async move { drop(listener.accept().await) });
                    spawn(async move { drop(server.read(&mut [0; 8]).await) });
                    spawn(async move {
                        let _client = client;
                        std::future::pending().await
                    });
                    spawn(async { sleep(Duration::from_secs(1000)).await });
                    unblock(|| ()).await;
                    yield_to_io().await;
                });
            };
            let threads = || {
                std::fs::read_dir("/proc/self/task")
                    .expect("procfs")
                    .count()
            };
            use_everything();
            let (descriptors, memory, threads_before) =
                (open_descriptors(), resident_bytes(), threads());
            for _ in 0..50 {
                use_everything();
            }
            // glommio's helper thread and the rings go in their own time.
            let deadline = Instant::now() + Duration::from_secs(10);
            while open_descriptors() > descriptors || threads() > threads_before {
                let (fds, threads) = (open_descriptors(), threads());
                assert!(
                    Instant::now() < deadline,
                    "{kind}: {fds} descriptors, {threads} threads"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
            let grown = resident_bytes().saturating_sub(memory);
            println!("{kind}: {grown} bytes over 50 executors");
            assert!(grown < 8 << 20, "{kind}: {grown} bytes");
        }
    });
}

#[test]
fn two_thousand_idle_connections_cost_nothing() {
    alone("growth::two_thousand_idle_connections_cost_nothing", || {
        on_both(async |kind| {
            let (listener, address) = listen();
            let accepted = Rc::new(Cell::new(0));
            spawn({
                let accepted = Rc::clone(&accepted);
                async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        accepted.set(accepted.get() + 1);
                        spawn(echo(stream));
                    }
                }
            });
            let mut clients = Vec::new();
            for _ in 0..2_000 {
                clients.push(Stream::connect_tcp(address).await.expect("connect"));
            }
            eventually("all are accepted", || accepted.get() == 2_000).await;
            // What accepting has left to do is done first, which takes its time on a busy machine.
            let mut spent = Duration::MAX;
            for _ in 0..5 {
                let before = cpu_time();
                sleep(Duration::from_millis(500)).await;
                spent = spent.min(cpu_time() - before);
            }
            println!("{kind}: idle for 500 ms took {spent:?}");
            assert!(
                spent < Duration::from_millis(50),
                "{kind}: idle took {spent:?}"
            );
            let begun = Instant::now();
            for client in clients.iter_mut().rev() {
                client.write_all(b"ping").await.expect("write");
                read_exact(client, &mut [0; 4]).await;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        });
    });
}

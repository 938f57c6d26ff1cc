//! Behaviour of the boundary, each test on both backends.

mod basics;
mod growth;
mod listening;
mod streams;
mod timers;
mod waking;

use super::{ExecutorChoice, ExecutorConfig, ExecutorKind, ListenOptions, Stream, TcpListener};
use super::{decide, run, sleep};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a test on each backend that this machine permits; says so when one is skipped.
fn on_both<F: Future<Output = ()>>(test: impl Fn(ExecutorKind) -> F) {
    for kind in kinds() {
        on(kind, || test(kind));
    }
}

fn kinds() -> Vec<ExecutorKind> {
    match decide(ExecutorChoice::IoUring) {
        Ok(_) => vec![ExecutorKind::IoUring, ExecutorKind::Epoll],
        Err(cause) => {
            println!("io_uring skipped: {cause}");
            vec![ExecutorKind::Epoll]
        }
    }
}

fn config(kind: ExecutorKind) -> ExecutorConfig {
    ExecutorConfig {
        kind,
        cpu: None,
        name: format!("test-{kind}"),
    }
}

fn on<T, F: Future<Output = T>>(kind: ExecutorKind, make: impl FnOnce() -> F) -> T {
    run(&config(kind), make).expect("the executor starts")
}

/// Runs the calling test in a process of its own, for what concerns the whole process: its
/// descriptors, its memory, its limits.
fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "VYR_RT_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let (_crate_name, module) = module_path!()
        .split_once("::")
        .expect("a path in the crate");
    let program = std::env::current_exe().expect("the test binary");
    let outcome = Command::new(program)
        .args([
            "--exact",
            &format!("{module}::{test}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(MARK, "1")
        .output()
        .expect("start the test binary");
    let report = String::from_utf8_lossy(&outcome.stdout);
    print!("{report}");
    assert!(
        report.contains("1 passed"),
        "{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
}

/// Waits until a condition holds; for what another task or the kernel does in its own time.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(any, ListenOptions::default()).expect("bind");
    let address = listener.local_addr();
    (listener, address)
}

/// Two ends of one TCP connection: the accepted one and the connecting one.
async fn tcp_pair() -> (Stream, Stream) {
    let (listener, address) = listen();
    let connecting = Stream::connect_tcp(address).await.expect("connect");
    let (accepted, _) = listener.accept().await.expect("accept");
    (accepted, connecting)
}

async fn read_exact(stream: &mut Stream, buffer: &mut [u8]) {
    let mut got = 0;
    while got < buffer.len() {
        let count = stream.read(&mut buffer[got..]).await.expect("read");
        assert!(count > 0, "the stream ended after {got} bytes");
        got += count;
    }
}

/// Echoes until the end of the stream.
async fn echo(mut stream: Stream) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        }
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: usize = statm
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("a number");
    pages * 4096
}

/// Processor time of all threads of this process.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let nanoseconds = tasks.map(|task| {
        let path = task.expect("procfs").path().join("schedstat");
        let schedstat = std::fs::read_to_string(path).expect("procfs");
        let first = schedstat.split_whitespace().next().expect("a field");
        first.parse::<u64>().expect("a number")
    });
    Duration::from_nanos(nanoseconds.sum())
}

//! Behaviour, each test on both backends.

mod basics;

use super::{ExecutorConfig, ExecutorKind, decide, run};
use std::time::{Duration, Instant};

/// Runs a test on each backend that this machine permits; says so when one is skipped.
fn on_both<F: Future<Output = ()>>(test: impl Fn(ExecutorKind) -> F) {
    for kind in kinds() {
        on(kind, || test(kind));
    }
}

fn kinds() -> Vec<ExecutorKind> {
    match decide(super::ExecutorChoice::IoUring) {
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

/// Runs a test on a thread of its own, so that a hang is a failure of that test.
fn on<T, F: Future<Output = T>>(kind: ExecutorKind, make: impl FnOnce() -> F) -> T {
    run(&config(kind), make).expect("the executor starts")
}

/// Waits until a condition holds; for what another task or the kernel does in its own time.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        super::sleep(Duration::from_millis(1)).await;
    }
}

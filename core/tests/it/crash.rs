//! kill -9 and competition: an artifact is wholly there or wholly absent.

use std::process::{Command, Stdio};
use std::time::Duration;

use vyr_core::artifact::Store;

use crate::support::*;

/// Set in a copy of this test program that only puts artifacts.
const PUT_INTO: &str = "VYR_TEST_PUT_INTO";
const FIRST: &str = "VYR_TEST_FIRST";
const COUNT: usize = 60;

/// Not a test of its own: what the copies run.
#[test]
fn put_when_asked() {
    let Some(dir) = std::env::var_os(PUT_INTO) else {
        return;
    };
    let first: usize = std::env::var(FIRST)
        .expect("set with it")
        .parse()
        .expect("a number");
    let store = Store::open(dir.as_ref()).expect("the store opens");
    for number in first..first + COUNT {
        put(&store, number, Some(&format!("n{number}")), &[vec![1; 64]]);
    }
}

fn putting(dir: &std::path::Path, first: usize) -> std::process::Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crash::put_when_asked", "--test-threads=1"])
        .env(PUT_INTO, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a copy of this program")
}

#[test]
fn two_processes_put_at_once() {
    let (dir, _) = store();
    let dir = dir.path().join("store");
    let children = [putting(&dir, 0), putting(&dir, COUNT / 2)];
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    let store = Store::open(&dir).expect("the store opens");
    assert_eq!(store.list().expect("a list").len(), COUNT + COUNT / 2);
    for number in 0..COUNT + COUNT / 2 {
        let digest = store
            .resolve(&format!("n{number}").parse().expect("a name"))
            .expect("named");
        let artifact = store.get(&digest).expect("whole");
        assert_eq!(store.wasm(&artifact).expect("whole"), wasm(number));
    }
}

#[test]
fn kill_9_leaves_whole_artifacts_only() {
    let (dir, _) = store();
    let dir = dir.path().join("store");
    let mut partly = 0;
    for round in 0..40 {
        let mut child = putting(&dir, 0);
        std::thread::sleep(Duration::from_micros(1500 * round));
        child.kill().expect("it runs or has ended");
        child.wait().expect("it ends");
        let store = Store::open(&dir).expect("the store opens");
        let digests = store.list().expect("a list");
        for digest in &digests {
            let artifact = store.get(digest).expect("what is listed is whole");
            store.wasm(&artifact).expect("what is listed is whole");
            assert_eq!(artifact.names.len(), 1);
            assert_eq!(artifact.signatures.len(), 1);
        }
        partly += usize::from(!digests.is_empty() && digests.len() < COUNT);
    }
    assert!(partly > 0, "no kill hit the work; the test proves nothing");
}

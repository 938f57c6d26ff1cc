//! The reference workload gives the same bytes under the stock runtime.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::support::*;

fn wasmtime() -> Option<String> {
    let program = std::env::var("VYR_WASMTIME").unwrap_or_else(|_| "wasmtime".into());
    has(&program).then_some(program)
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(root().join("workloads/data").join(name)).expect("committed")
}

#[test]
fn wasmtime_run_and_serve_give_the_references_bytes() {
    let Some(wasmtime) = wasmtime() else { return };
    let (input, expected) = (
        sample("flights-sample.ndjson"),
        sample("flights-sample.expected.ndjson"),
    );
    let artifact = guest("event-transform.wasm");
    let mut run = Command::new(&wasmtime);
    // The artifact exports both worlds, so its imports of HTTP have to be there for a command too.
    run.args(["run", "-S", "http", &artifact]);
    let output = finish(run, &input);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout == expected, "wasmtime run");

    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = port.expect("a free port").to_string();
    let mut serve = Command::new(&wasmtime)
        .args(["serve", "-S", "cli", "--addr", &address, &artifact])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    until("it serves", || TcpStream::connect(&address).is_ok());
    let mut stream = TcpStream::connect(&address).expect("it serves");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        input.len()
    );
    let mut writer = stream.try_clone().expect("a socket");
    let feeder = std::thread::spawn(move || {
        writer
            .write_all(head.as_bytes())
            .and_then(|()| writer.write_all(&input))
    });
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("readable");
    feeder.join().expect("no panic").expect("writable");
    serve.kill().expect("it runs");
    serve.wait().expect("a child");
    let answer = parse_answer(&bytes).expect("a whole answer");
    assert_eq!(answer.status, 200);
    assert!(answer.body == expected, "wasmtime serve");
}

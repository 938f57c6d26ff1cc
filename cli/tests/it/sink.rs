//! A collector of the tests' own: takes every export over HTTP and keeps its bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One that accepts all that it is sent, for as long as the test runs.
pub(crate) struct Sink {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Export>>>,
}

/// One request.
#[derive(Clone)]
struct Export {
    path: String,
    body: Vec<u8>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || take(stream, &kept));
            }
        });
        Self { url, received }
    }

    /// The bodies that came to `/v1/{signal}`, in order.
    pub(crate) fn bodies(&self, signal: &str) -> Vec<Vec<u8>> {
        let path = format!("/v1/{signal}");
        let received = self.received.lock().expect("no panic");
        let exports = received.iter().filter(|export| export.path == path);
        exports.map(|export| export.body.clone()).collect()
    }
}

fn take(mut stream: TcpStream, kept: &Mutex<Vec<Export>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let path = head
            .strip_prefix("post ")
            .and_then(|rest| rest.split(' ').next());
        let path = path.unwrap_or_else(|| panic!("{head}")).to_owned();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|text| text.trim().parse().ok())
            .expect("a length");
        while bytes.len() < end + 4 + length {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let body = bytes.drain(..end + 4 + length).skip(end + 4).collect();
        kept.lock().expect("no panic").push(Export { path, body });
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .is_err()
        {
            return;
        }
    }
}

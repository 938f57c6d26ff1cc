//! A server whose answers a test writes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use vyr_bench::Address;

/// What becomes of a connection after an answer.
pub(crate) enum Next {
    /// It goes on.
    Keep,
    /// The server closes it.
    Close,
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves every connection on a thread of its own: `answer` gets the number of the connection and of
/// the request on it, both from 0, and writes.
pub(crate) fn over_tcp(
    answer: impl Fn(usize, usize, &mut dyn Write) -> Next + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let answer = answer.clone();
            std::thread::spawn(move || serve(&mut stream, number, &answer));
        }
    });
    address
}

/// The same on a Unix socket.
pub(crate) fn over_unix(
    path: &Path,
    answer: impl Fn(usize, usize, &mut dyn Write) -> Next + Clone + Send + 'static,
) -> Address {
    let listener = UnixListener::bind(path).expect("listen");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let answer = answer.clone();
            std::thread::spawn(move || serve(&mut stream, number, &answer));
        }
    });
    Address::Unix(path.to_owned())
}

fn serve<S: Read + Write>(
    stream: &mut S,
    number: usize,
    answer: &impl Fn(usize, usize, &mut dyn Write) -> Next,
) {
    let mut buffer = [0; 4096];
    let mut request = 0;
    // One read is one request: the generator sends none before the last one is answered.
    while matches!(stream.read(&mut buffer), Ok(1..)) {
        if let Next::Close = answer(number, request, stream) {
            return;
        }
        request += 1;
    }
}

//! One HTTP/1.1 keep-alive connection that never blocks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::url::Address;

/// Longest response head, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header fields of one response.
const FIELDS_MAX: usize = 64;
/// Longest time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A response as far as a load generator looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `vyr-task-id` header, when the server is a VYR node.
    pub task_id: Option<String>,
    /// Length of the body, bytes.
    pub body_bytes: u64,
}

pub(crate) struct Connection {
    stream: Stream,
    unsent: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// Whether the request under way is a HEAD, whose answer has no body (RFC 9110, 9.3.2).
    is_head: bool,
    head: Option<Head>,
    /// Whether the last answer was the last one on this connection.
    is_ending: bool,
}

struct Head {
    answer: Answer,
    framing: Framing,
    /// Whether the server ends the connection after this answer.
    is_last: bool,
    /// Bytes of the body that have come.
    body_bytes: u64,
}

enum Framing {
    Length(u64),
    Chunked(Chunked),
    /// The body ends with the connection.
    ToEnd,
}

/// Where in a chunked body the next byte stands.
enum Chunked {
    Size,
    Data { left: u64 },
    DataEnd,
    Trailer,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIME_MAX)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// The same without waiting: what is sent before the connection is there would block, and why
    /// it cannot be made is told by the first read or write.
    fn begin(address: &Address) -> io::Result<Self> {
        let socket = |family| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        };
        match address {
            Address::Tcp(address) => {
                let family = if address.is_ipv4() {
                    AddressFamily::INET
                } else {
                    AddressFamily::INET6
                };
                let socket = socket(family)?;
                match rustix::net::connect(&socket, address) {
                    Ok(()) | Err(Errno::INPROGRESS) => {}
                    Err(error) => return Err(error.into()),
                }
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => {
                let socket = socket(AddressFamily::UNIX)?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
                Ok(Self::Unix(socket.into()))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Connection {
    /// Waits until the connection is there.
    pub(crate) fn open(address: &Address) -> io::Result<Self> {
        Stream::open(address).map(Self::over)
    }

    /// Does not wait for the connection.
    pub(crate) fn begin(address: &Address) -> io::Result<Self> {
        Stream::begin(address).map(Self::over)
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            unsent: Vec::new(),
            sent: 0,
            received: Vec::new(),
            is_head: false,
            head: None,
            is_ending: false,
        }
    }

    /// Begins a request; the one before must have been answered.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.unsent.clear();
        self.unsent.extend_from_slice(request);
        self.sent = 0;
        self.is_head = request.starts_with(b"HEAD ");
        self.flush()
    }

    /// Whether part of the request is still to be sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.sent < self.unsent.len()
    }

    /// Whether the server has said that it answers nothing more on this connection.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Goes on with whatever can be done now. The answer, once it is complete.
    pub(crate) fn poll(&mut self) -> io::Result<Option<Answer>> {
        self.flush()?;
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end(),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                self.parse()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The connection is at its end, which may be how the answer ends.
    fn end(&mut self) -> io::Result<Option<Answer>> {
        match self.head.take() {
            Some(head) if matches!(head.framing, Framing::ToEnd) => {
                self.is_ending = true;
                Ok(Some(head.finish()))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
        }
    }

    fn parse(&mut self) -> io::Result<Option<Answer>> {
        if self.head.is_none() {
            match parse_head(&self.received, self.is_head)? {
                None => return Ok(None),
                Some((head, used)) => {
                    self.received.drain(..used);
                    self.head = Some(head);
                }
            }
        }
        let Some(head) = &mut self.head else {
            return Ok(None);
        };
        let complete = match &mut head.framing {
            Framing::Length(length) => {
                let wanted = *length - head.body_bytes;
                let taken = wanted.min(self.received.len() as u64);
                self.received.drain(..taken as usize);
                head.body_bytes += taken;
                taken == wanted
            }
            Framing::Chunked(state) => {
                take_chunks(state, &mut self.received, &mut head.body_bytes)?
            }
            Framing::ToEnd => {
                head.body_bytes += self.received.len() as u64;
                self.received.clear();
                false
            }
        };
        if !complete {
            return Ok(None);
        }
        self.is_ending = head.is_last;
        Ok(self.head.take().map(Head::finish))
    }
}

impl Head {
    fn finish(self) -> Answer {
        Answer {
            body_bytes: self.body_bytes,
            ..self.answer
        }
    }
}

fn malformed(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("malformed response: {what}"),
    )
}

fn parse_head(bytes: &[u8], answers_head: bool) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let used = match response.parse(bytes).map_err(malformed)? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial if bytes.len() > HEAD_BYTES_MAX => {
            return Err(malformed("the head is too long"));
        }
        httparse::Status::Partial => return Ok(None),
    };
    let field = |name: &str| {
        let field = response
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let status = response.code.unwrap_or(0);
    let chunked = field("transfer-encoding").is_some_and(|value| value.ends_with("chunked"));
    // In the order of RFC 9112, 6.3.
    let framing = if answers_head || matches!(status, 204 | 304) {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked(Chunked::Size)
    } else if let Some(length) = field("content-length") {
        Framing::Length(length.parse().map_err(|_| malformed("content-length"))?)
    } else {
        Framing::ToEnd
    };
    let connection = field("connection").unwrap_or_default().to_ascii_lowercase();
    let is_old = response.version == Some(0);
    let head = Head {
        is_last: connection.contains("close") || is_old && !connection.contains("keep-alive"),
        answer: Answer {
            status,
            task_id: field("vyr-task-id").map(str::to_owned),
            body_bytes: 0,
        },
        framing,
        body_bytes: 0,
    };
    Ok(Some((head, used)))
}

/// Takes what has come of a chunked body (RFC 9112, 7.1). True at its end.
fn take_chunks(state: &mut Chunked, bytes: &mut Vec<u8>, body_bytes: &mut u64) -> io::Result<bool> {
    loop {
        match state {
            Chunked::Data { left } => {
                let taken = (*left).min(bytes.len() as u64);
                bytes.drain(..taken as usize);
                *body_bytes += taken;
                *left -= taken;
                if *left > 0 {
                    return Ok(false);
                }
                *state = Chunked::DataEnd;
            }
            Chunked::Size | Chunked::DataEnd | Chunked::Trailer => {
                let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
                    return Ok(false);
                };
                let line: Vec<u8> = bytes.drain(..end + 2).take(end).collect();
                match state {
                    Chunked::Size => {
                        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
                        let text = std::str::from_utf8(digits).map_err(malformed)?;
                        let size = u64::from_str_radix(text.trim(), 16).map_err(malformed)?;
                        *state = if size == 0 {
                            Chunked::Trailer
                        } else {
                            Chunked::Data { left: size }
                        };
                    }
                    Chunked::Trailer if line.is_empty() => return Ok(true),
                    Chunked::Trailer => {}
                    _ => *state = Chunked::Size,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_status_framing_and_task() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nvyr-task-id: tx\r\n\r\nhello";
        let (head, used) = parse_head(bytes, false)
            .expect("well-formed")
            .expect("complete");
        assert_eq!(used, bytes.len() - 5);
        assert_eq!(head.answer.status, 200);
        assert_eq!(head.answer.task_id.as_deref(), Some("tx"));
        assert!(matches!(head.framing, Framing::Length(5)));
        assert!(
            parse_head(&bytes[..20], false)
                .expect("well-formed so far")
                .is_none()
        );
        assert!(parse_head(b"SSH-2.0\r\n\r\n", false).is_err());
    }

    #[test]
    fn bodies_end_as_the_standard_says() {
        let framing = |head: &str, answers_head| {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), answers_head)
                .expect("well-formed")
                .expect("complete");
            (head.framing, head.is_last)
        };
        let length = "200 OK\r\ncontent-length: 5";
        assert!(matches!(framing(length, true).0, Framing::Length(0)));
        assert!(matches!(
            framing("204 No Content", false).0,
            Framing::Length(0)
        ));
        assert!(matches!(
            framing("200 OK\r\nTransfer-Encoding: chunked", false).0,
            Framing::Chunked(_)
        ));
        assert!(matches!(framing("200 OK", false).0, Framing::ToEnd));
        assert!(!framing(length, false).1);
        assert!(framing(&format!("{length}\r\nConnection: close"), false).1);
    }

    #[test]
    fn chunks_are_counted_however_they_are_cut() {
        let whole = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: v\r\n\r\n";
        for cut in 1..whole.len() {
            let (mut state, mut body_bytes) = (Chunked::Size, 0);
            let mut bytes = whole[..cut].to_vec();
            assert!(!take_chunks(&mut state, &mut bytes, &mut body_bytes).expect("well-formed"));
            bytes.extend_from_slice(&whole[cut..]);
            assert!(take_chunks(&mut state, &mut bytes, &mut body_bytes).expect("well-formed"));
            assert_eq!((body_bytes, bytes.len()), (5, 0));
        }
    }
}

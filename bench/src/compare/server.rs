//! Servers as processes on a processor of their own.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Error;
use crate::pin;
use crate::process::ProcessTree;

/// How long a server may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(15);

/// Where things are, and which processor does what.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The `vyr` program.
    pub vyr: PathBuf,
    /// `wasmtime`, if it is there.
    pub wasmtime: Option<PathBuf>,
    /// `workerd`, if it is there.
    pub workerd: Option<PathBuf>,
    /// `nginx`, if it is there.
    pub nginx: Option<PathBuf>,
    /// event-transform as a native program, if it is there.
    pub event_transform: Option<PathBuf>,
    /// A directory for files of servers.
    pub dir: PathBuf,
    /// The processor of the servers.
    pub server_cpu: usize,
    /// The processor of the generator.
    pub generator_cpu: usize,
}

/// A server that runs until it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) tree: ProcessTree,
    /// `None` for another address of a server.
    child: Option<Child>,
}

impl Setup {
    /// Starts a program on the servers' processor.
    fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        // What a thread starts inherits its processors.
        pin::bind(&[self.server_cpu]).map_err(Error::Pin)?;
        let child = command
            .env("RUST_BACKTRACE", "0")
            .env("VYR_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .map_err(|cause| Error::Start {
                program: command.get_program().to_string_lossy().into_owned(),
                cause,
            });
        pin::bind(&[self.generator_cpu]).map_err(Error::Pin)?;
        child
    }

    /// Starts a server that listens on `address` soon.
    pub(super) fn start(
        &self,
        command: &mut Command,
        address: SocketAddr,
    ) -> Result<Server, Error> {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.spawn(command)?;
        let mut server = Server {
            tree: ProcessTree::of(child.id()),
            address,
            child: Some(child),
        };
        let started = Instant::now();
        while server.exchange("GET", "/", &[]).is_err() {
            if server.has_ended() || started.elapsed() > START_TIME_MAX {
                let program = command.get_program().to_string_lossy().into_owned();
                return Err(Error::NotReady { program });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// A node with some artifacts, and how long it took to get ready.
    pub(super) fn node(&self, name: &str, shards: usize) -> Result<(Server, Duration), Error> {
        self.node_with(name, shards, &[])
    }

    /// A node that is started with some arguments more.
    pub(super) fn node_with(
        &self,
        name: &str,
        shards: usize,
        arguments: &[&str],
    ) -> Result<(Server, Duration), Error> {
        let mut command = Command::new(&self.vyr);
        command
            .args(["node", "--listen", "127.0.0.1:0", "--shards"])
            .arg(shards.to_string())
            .arg("--data-dir")
            .arg(self.dir.join(name))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let started = Instant::now();
        let mut child = self.spawn(&mut command)?;
        // The node tells its address when it is ready.
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let ready = started.elapsed();
        let tree = ProcessTree::of(child.id());
        let address = line.trim().strip_prefix("http://");
        let Some(address) = address.and_then(|text| text.parse().ok()) else {
            let program = self.vyr.display().to_string();
            return Err(Error::NotReady { program });
        };
        let server = Server {
            address,
            tree,
            child: Some(child),
        };
        Ok((server, ready))
    }

    /// Puts an artifact into a node.
    pub(super) fn put(
        &self,
        node: &Server,
        name: &str,
        component: &[u8],
        manifest: Option<&str>,
    ) -> Result<(), Error> {
        let file = self.write(&format!("{name}.wasm"), component)?;
        let mut command = Command::new(&self.vyr);
        command
            .args(["artifact", "put", "--name", name, "--node"])
            .arg(format!("http://{}", node.address))
            .arg(&file);
        if let Some(manifest) = manifest {
            let path = self.write(&format!("{name}.toml"), manifest.as_bytes())?;
            command.arg("--manifest").arg(path);
        }
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Put {
            name: name.to_owned(),
            reason,
        })
    }

    /// Creates a state that outlives the measurement, and gives its id.
    pub(super) fn create_state(&self, node: &Server) -> Result<String, Error> {
        let output = Command::new(&self.vyr)
            .args(["state", "create", "--linger", "1h", "--node"])
            .arg(format!("http://{}", node.address))
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::CreateState { reason })
    }

    /// Writes a file of a server.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Streams `input` through a program on the servers' processor; tells how long it took.
    pub(super) fn time_filter(&self, program: &Path, input: &[u8]) -> Result<Duration, Error> {
        pin::bind(&[self.server_cpu]).map_err(Error::Pin)?;
        let started = Instant::now();
        let spawned = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        pin::bind(&[self.generator_cpu]).map_err(Error::Pin)?;
        let mut child = spawned?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("the program has no pipes").into());
        };
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || stdin.write_all(input));
            stdout.read_to_end(&mut Vec::new())?;
            sent.join()
                .unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
        })?;
        let took = started.elapsed();
        if child.wait()?.success() {
            Ok(took)
        } else {
            let program = program.display().to_string();
            Err(Error::NotReady { program })
        }
    }
}

/// An address on loopback that was free a moment ago.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

impl Server {
    /// The same server at another of its addresses.
    pub(super) fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            tree: self.tree,
            child: None,
        }
    }

    fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().map(Child::try_wait);
        ended.is_some_and(|ended| ended.is_ok_and(|status| status.is_some()))
    }

    /// One request on a connection of its own: the status and the body.
    pub(super) fn exchange(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let (answer, body_at) = self.answer(method, path, body)?;
        let status = answer
            .get(9..12)
            .and_then(|text| std::str::from_utf8(text).ok());
        let status = status
            .and_then(|text| text.parse().ok())
            .ok_or_else(malformed)?;
        Ok((status, answer[body_at..].to_vec()))
    }

    /// One request on a connection of its own: the head of the answer.
    pub(super) fn head(&self, path: &str) -> io::Result<String> {
        let (mut answer, body_at) = self.answer("GET", path, &[])?;
        answer.truncate(body_at);
        String::from_utf8(answer).map_err(|_| malformed())
    }

    fn answer(&self, method: &str, path: &str, body: &[u8]) -> io::Result<(Vec<u8>, usize)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-ndjson\r\n\r\n",
            self.address,
            body.len()
        );
        let mut sending = stream.try_clone()?;
        let mut answer = Vec::new();
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || {
                sending.write_all(head.as_bytes())?;
                sending.write_all(body)
            });
            stream.read_to_end(&mut answer)?;
            sent.join()
                .unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
        })?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body_at = end.ok_or_else(malformed)? + 4;
        Ok((answer, body_at))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed response")
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        let process = rustix::process::Pid::from_child(child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let asked = Instant::now();
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if asked.elapsed() > END_TIME_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

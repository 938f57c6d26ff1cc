//! Running `vyr`, and nodes of a test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest time any single thing may take; far above what it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn guest(name: &str) -> String {
    root()
        .join("workloads/artifacts")
        .join(name)
        .to_str()
        .expect("UTF-8")
        .to_owned()
}

/// `vyr` with these arguments, cut off from the settings of whoever runs the tests.
pub(crate) fn vyr(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vyr"));
    command
        .args(arguments)
        .env_remove("VYR_NODE")
        .env_remove("VYR_TOKEN_FILE")
        .env_remove("RUST_BACKTRACE")
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// Runs `vyr` with this input to its end.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Output {
    finish(vyr(arguments), input)
}

pub(crate) fn finish(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vyr starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // A command that does not want its input closes it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("vyr ends");
    feeder.join().expect("feeding does not panic");
    output
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a tool is there; when it is not, the test says that it is skipped.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "{tool} is not installed"
        );
        eprintln!("skipped: {tool} is not installed; scripts/test-dependencies installs it");
    }
    found
}

/// A node in a directory of its own; it is stopped, and its end checked, when dropped.
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) dir: tempfile::TempDir,
    process: Child,
}

impl Node {
    /// Two shards, unless the arguments say otherwise.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// As [`Node::start`], with these in its environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data_dir = dir.path().join("data").to_str().expect("UTF-8").to_owned();
        let mut all = vec!["node", "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        if !arguments.contains(&"--shards") {
            all.extend(["--shards", "2"]);
        }
        // The suite runs on either executor: the gate runs it once more with epoll.
        let executor = std::env::var("VYR_TEST_EXECUTOR").unwrap_or_else(|_| "auto".into());
        if !arguments.contains(&"--executor") {
            all.extend(["--executor", &executor]);
        }
        all.extend(arguments);
        let mut command = vyr(&all);
        let mut process = command
            .env("VYR_LOG", "warn")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("vyr starts");
        let mut url = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut url)
            .expect("the node prints its address");
        assert!(url.starts_with("http://"), "the node did not start");
        Self {
            url: url.trim().to_owned(),
            dir,
            process,
        }
    }

    pub(crate) fn with_artifact(arguments: &[&str], file: &str, name: &str) -> Self {
        let node = Self::start(arguments);
        node.put(file, name);
        node
    }

    pub(crate) fn put(&self, file: &str, name: &str) -> String {
        let output = self.vyr(&["artifact", "put", &guest(file), "--name", name], b"");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    /// `vyr` against this node.
    pub(crate) fn vyr(&self, arguments: &[&str], input: &[u8]) -> Output {
        finish(self.command(arguments), input)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = vyr(arguments);
        command.env("VYR_NODE", &self.url);
        command
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("an HTTP URL")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// One request over a connection of its own: status, head and body.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        request(self.address(), method, path, headers, body).expect("the node answers")
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.request("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn shards(&self) -> Vec<Value> {
        self.json("/v0/node")["shards"]
            .as_array()
            .expect("a list")
            .clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
        wait(&mut self.process)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
        let status = wait(&mut self.process);
        if !std::thread::panicking() {
            assert!(status.success(), "the node ended with {status}");
        }
    }
}

fn wait(process: &mut Child) -> std::process::ExitStatus {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait().expect("a child") {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().expect("a child");
    panic!("the node did not stop");
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The stable code of a problem document.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request, `connection: close`, so that the end of the connection is the end of the answer.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // The node may answer and close before it has taken everything.
    let _ = stream.write_all(body);
    read_answer(stream)
}

/// Reads to the end; of a stream of events, which has none, only the head.
pub(crate) fn read_answer(mut stream: TcpStream) -> std::io::Result<Answer> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return parse_answer(&bytes),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => return parse_answer(&bytes),
        }
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            if head.contains("content-type: text/event-stream") {
                return Ok(Answer {
                    status: status_of(&head)?,
                    head,
                    body: Vec::new(),
                });
            }
        }
    }
}

fn status_of(head: &str) -> std::io::Result<u16> {
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.ok_or_else(|| invalid("no status"))
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

pub(crate) fn parse_answer(bytes: &[u8]) -> std::io::Result<Answer> {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(|| invalid("no whole head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes[end + 4..].to_vec();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = dechunk(&body).ok_or_else(|| invalid("the body broke off"))?;
    }
    Ok(Answer {
        status: status_of(&head)?,
        head,
        body,
    })
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

/// A size from `/proc/PID/status`, such as `VmRSS`.
pub(crate) fn memory_kib(pid: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|text| text.parse().ok()).expect("a size")
}

/// The sum of a metric's samples over all shards that have these labels.
pub(crate) fn metric(node: &Node, name: &str, labels: &[&str]) -> f64 {
    let text = node.request("GET", "/metrics", &[], b"").text();
    let samples = text.lines().filter_map(|line| {
        let (head, value) = line.rsplit_once(' ')?;
        let (found, own) = head.split_once('{')?;
        let fits = found == name && labels.iter().all(|label| own.contains(label));
        fits.then(|| value.parse::<f64>().expect("a number"))
    });
    samples.sum()
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

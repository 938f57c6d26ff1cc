//! A collector in the test's own process that answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// What the sink does with a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Accept,
    /// Accepts all but these.
    Reject(i64),
    Status(u16),
    /// Answers 429 and asks for a pause of this many seconds.
    Throttle(u32),
    /// Closes the connection instead of answering.
    Close,
    /// Never answers.
    Hang,
    /// Answers with something that is not HTTP.
    Babble,
}

#[derive(Debug, Default)]
struct Shared {
    script: VecDeque<Answer>,
    /// Batches that were accepted, with the path and headers they came with.
    accepted: Vec<Batch>,
    requests: usize,
    /// What becomes of metrics, if they are not like the others.
    metrics: Option<Answer>,
    metrics_requests: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) path: String,
    pub(super) headers: String,
    /// Without spans if the request was of another signal.
    pub(super) request: ExportTraceServiceRequest,
    logs: ExportLogsServiceRequest,
}

impl Batch {
    pub(super) fn spans(&self) -> impl Iterator<Item = &Span> {
        let scopes = self
            .request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    }
}

#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Sink {
    /// A sink that answers the first requests by this script and accepts the others.
    pub(super) fn start(script: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        Self::start_on(listener, script)
    }

    pub(super) fn start_on(listener: TcpListener, script: &[Answer]) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let script = script.iter().copied().collect();
        let shared = Arc::new(Mutex::new(Shared {
            script,
            ..Shared::default()
        }));
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || serve(stream, &served));
            }
        });
        Self { address, shared }
    }

    /// Treats metrics so, and the script is for the others only.
    pub(super) fn answer_metrics(&self, answer: Answer) {
        lock(&self.shared).metrics = Some(answer);
    }

    pub(super) fn metrics_requests(&self) -> usize {
        lock(&self.shared).metrics_requests
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn requests(&self) -> usize {
        lock(&self.shared).requests
    }

    pub(super) fn batches(&self) -> Vec<Batch> {
        lock(&self.shared).accepted.clone()
    }

    /// Spans of all accepted batches.
    pub(super) fn spans(&self) -> Vec<Span> {
        self.batches()
            .iter()
            .flat_map(Batch::spans)
            .cloned()
            .collect()
    }

    /// Log records of all accepted batches.
    pub(super) fn logs(&self) -> Vec<LogRecord> {
        let batches = self.batches().into_iter();
        let resources = batches.flat_map(|batch| batch.logs.resource_logs);
        let scopes = resources.flat_map(|resource| resource.scope_logs);
        scopes.flat_map(|scope| scope.log_records).collect()
    }

    pub(super) fn wait_for_requests(&self, requests: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.requests() < requests {
            assert!(
                Instant::now() < end,
                "{} of {requests} requests came",
                self.requests()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection until its client leaves.
fn serve(stream: TcpStream, shared: &Mutex<Shared>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        })?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if head.to_lowercase().contains("content-encoding: gzip") {
            body = unzip(body);
        }
        let path = head.split(' ').nth(1)?.to_owned();
        let (mut request, mut logs) = Default::default();
        if path.ends_with("/v1/logs") {
            logs = ExportLogsServiceRequest::decode(&*body).expect("the body is protobuf");
        } else if !path.ends_with("/v1/metrics") {
            request = ExportTraceServiceRequest::decode(&*body).expect("the body is protobuf");
        }
        let answer = {
            let mut shared = lock(shared);
            let metrics = shared.metrics.filter(|_| path.ends_with("/v1/metrics"));
            let answer = if let Some(answer) = metrics {
                shared.metrics_requests += 1;
                answer
            } else {
                shared.requests += 1;
                shared.script.pop_front().unwrap_or(Answer::Accept)
            };
            if matches!(answer, Answer::Accept | Answer::Reject(_)) {
                shared.accepted.push(Batch {
                    path,
                    headers: head.to_lowercase(),
                    request,
                    logs,
                });
            }
            answer
        };
        let rejected = |rejected_spans| {
            let error_message = "too old".to_owned();
            let partial = ExportTracePartialSuccess {
                rejected_spans,
                error_message,
            };
            ExportTraceServiceResponse {
                partial_success: Some(partial),
            }
            .encode_to_vec()
        };
        let (status, header, body) = match answer {
            Answer::Accept => (200, String::new(), Vec::new()),
            Answer::Reject(spans) => (200, String::new(), rejected(spans)),
            Answer::Status(status) => (status, String::new(), b"no".to_vec()),
            Answer::Throttle(seconds) => (429, format!("retry-after: {seconds}\r\n"), Vec::new()),
            Answer::Close => return None,
            Answer::Hang => {
                // Until the client gives up.
                let _ = reader.read(&mut [0]);
                return None;
            }
            Answer::Babble => {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n");
                return None;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\n{header}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

/// Some collectors compress whatever they are told.
fn unzip(body: Vec<u8>) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip is there");
    let mut input = gzip.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(&body));
    let output = gzip.wait_with_output().expect("gzip ends");
    writer.join().expect("no panic").expect("gzip reads");
    output.stdout
}

/// The text of an attribute, whatever its type.
pub(super) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = &attributes
        .iter()
        .find(|attribute| attribute.key == name)?
        .value;
    match value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

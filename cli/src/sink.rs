//! The sink that the reference workload `disconnected-collector` delivers to, for the demo and for
//! `scripts/collector-outage`: it stores each batch once, by its idempotency key, and fails as it is told.
//!
//! The journal holds what was stored, in order: a line that names the batch, then its readings. A batch is
//! appended in one write, and one that was cut off by a kill is not there after a restart.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// Largest batch, bytes.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How the sink misbehaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Every so many batches, one is stored and answered with 500; 0 for never.
    pub(crate) fail_every: u64,
    /// Every so many requests, one is answered late; 0 for never.
    pub(crate) slow_every: u64,
    /// How late.
    pub(crate) slow: Duration,
}

/// What names a batch in the journal.
#[derive(Serialize, Deserialize)]
struct Batch {
    batch: String,
    readings: usize,
}

/// What has been stored, in a file or in memory.
#[derive(Default)]
pub(crate) struct Journal {
    file: Option<File>,
    keys: HashSet<String>,
    /// Every reading, in the order of storing.
    pub(crate) readings: Vec<String>,
    /// Batches that came again.
    pub(crate) suppressed: u64,
}

impl Journal {
    /// Opens a journal, with what is in it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let (mut journal, whole_bytes) = Self::parse(&text);
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(whole_bytes as u64)?;
        journal.file = Some(file);
        Ok(journal)
    }

    /// What the text holds, and how much of it is whole batches.
    fn parse(text: &str) -> (Self, usize) {
        let mut journal = Self::default();
        let mut whole_bytes = 0;
        let mut rest = text;
        while let Some((head, after)) = rest.split_once('\n') {
            let Ok(head) = serde_json::from_str::<Batch>(head) else {
                break;
            };
            let lines: Vec<&str> = after.split_inclusive('\n').take(head.readings).collect();
            if lines.len() < head.readings || !lines.iter().all(|line| line.ends_with('\n')) {
                break;
            }
            let bytes: usize = lines.iter().map(|line| line.len()).sum();
            let lines = lines.iter().map(|line| line.trim_end().to_owned());
            journal.readings.extend(lines);
            journal.keys.insert(head.batch);
            rest = &after[bytes..];
            whole_bytes = text.len() - rest.len();
        }
        (journal, whole_bytes)
    }

    /// Stores a batch unless it is there already; false if it is.
    fn store(&mut self, key: &str, body: &str) -> io::Result<bool> {
        if self.keys.contains(key) {
            self.suppressed += 1;
            return Ok(false);
        }
        let lines: Vec<_> = body.lines().map(str::to_owned).collect();
        if let Some(file) = &mut self.file {
            let head = Batch {
                batch: key.to_owned(),
                readings: lines.len(),
            };
            let mut text = serde_json::to_string(&head)?;
            text.push('\n');
            for line in &lines {
                text.push_str(line);
                text.push('\n');
            }
            file.write_all(text.as_bytes())?;
        }
        self.keys.insert(key.to_owned());
        self.readings.extend(lines);
        Ok(true)
    }
}

struct Sink {
    journal: RefCell<Journal>,
    faults: Faults,
    requests: Cell<u64>,
    stored: Cell<u64>,
}

/// Serves until `stop` says so, on a runtime of its own, and gives the journal back; open connections are
/// broken off then.
pub(crate) fn serve(
    listener: TcpListener,
    journal: Journal,
    faults: Faults,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Journal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    listener.set_nonblocking(true)?;
    let sink = Rc::new(Sink {
        journal: RefCell::new(journal),
        faults,
        requests: Cell::new(0),
        stored: Cell::new(0),
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting = async {
            loop {
                let (stream, _) = listener.accept().await?;
                let sink = Rc::clone(&sink);
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| {
                        let sink = Rc::clone(&sink);
                        async move { Ok::<_, Infallible>(sink.answer(request).await) }
                    });
                    // A client that breaks its connection off breaks nothing here.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        };
        tokio::select! {
            accepted = accepting => accepted,
            // An error means that whoever could say so is gone.
            _ = stop.wait_for(|stop| *stop) => anyhow::Ok(()),
        }
    })?;
    drop(tasks);
    let sink = Rc::into_inner(sink).context("a connection outlived the sink")?;
    Ok(sink.journal.into_inner())
}

/// `vyr readings-sink`: serves until it is killed.
pub(crate) fn run(listen: SocketAddr, journal: &Path, faults: Faults) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let journal = Journal::open(journal)?;
    eprintln!(
        "listening on {}, {} readings stored",
        listener.local_addr()?,
        journal.readings.len()
    );
    let (_never, stop) = watch::channel(false);
    serve(listener, journal, faults, stop).map(drop)
}

impl Sink {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = |status, text: &str| {
            let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
            *response.status_mut() = status;
            response
        };
        let every = |every: u64, count: u64| every > 0 && count.is_multiple_of(every);
        self.requests.set(self.requests.get() + 1);
        if every(self.faults.slow_every, self.requests.get()) {
            tokio::time::sleep(self.faults.slow).await;
        }
        let key = request.headers().get("idempotency-key");
        let Some(key) = key.and_then(|key| Some(key.to_str().ok()?.to_owned())) else {
            return answer(StatusCode::BAD_REQUEST, "idempotency-key is missing");
        };
        let body = Limited::new(request.into_body(), BATCH_BYTES_MAX)
            .collect()
            .await;
        let Ok(body) = body else {
            return answer(StatusCode::BAD_REQUEST, "the body broke off");
        };
        let body = body.to_bytes();
        let Ok(body) = std::str::from_utf8(&body) else {
            return answer(StatusCode::BAD_REQUEST, "the body is not UTF-8");
        };
        match self.journal.borrow_mut().store(&key, body) {
            Err(error) => answer(StatusCode::INSUFFICIENT_STORAGE, &error.to_string()),
            Ok(false) => answer(StatusCode::OK, "stored before"),
            Ok(true) => {
                self.stored.set(self.stored.get() + 1);
                if every(self.faults.fail_every, self.stored.get()) {
                    return answer(StatusCode::INTERNAL_SERVER_ERROR, "stored, but failing");
                }
                answer(StatusCode::OK, "stored")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_keeps_whole_batches_and_knows_them_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).expect("new");
        assert!(journal.store("a", "1\n2\n").expect("room"));
        assert!(!journal.store("a", "1\n2\n").expect("room"));
        assert!(journal.store("b", "3\n").expect("room"));
        drop(journal);
        let text = std::fs::read_to_string(&path).expect("written");
        // Killed in the middle of the second batch.
        for cut in 1..=3 {
            std::fs::write(&path, &text[..text.len() - cut]).expect("written");
            let mut journal = Journal::open(&path).expect("cut");
            assert_eq!(journal.readings, ["1", "2"]);
            assert!(journal.store("b", "3\n").expect("room"));
            assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
        }
        assert_eq!(
            Journal::open(&path).expect("whole").readings,
            ["1", "2", "3"]
        );
    }
}

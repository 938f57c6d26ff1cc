//! Live traces and metrics, and `vyr top`, as operators see them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::*;
use crate::terminal::Terminal;

const STEPS: [&str; 5] = ["submit", "queue", "instantiate", "execute", "complete"];

/// The URL of a shard's own address. A busy machine's shard may miss a round of questions.
fn shard_url(node: &Node, number: usize) -> String {
    let mut address = None;
    until("the shard tells its address", || {
        let shards = node.shards();
        let mut found = shards.iter().filter(|shard| shard["shard"] == number);
        address = found
            .next()
            .and_then(|shard| shard["address"].as_str().map(str::to_owned));
        address.is_some()
    });
    format!("http://{}", address.expect("it told its address"))
}

/// Submits a task to a shard.
fn submit(node: &Node, shard: usize, arguments: &[&str]) -> String {
    let url = shard_url(node, shard);
    let command = ["task", "submit", "probe", "--node", &url, "--"];
    let output = node.vyr(&[&command, arguments].concat(), b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let id = stdout(&output).trim().to_owned();
    assert_eq!(node.json(&format!("/v0/tasks/{id}"))["shard"], shard);
    id
}

/// A stream that runs until it is told to stop.
struct Stream {
    process: Child,
    lines: Receiver<String>,
    all: Vec<String>,
}

impl Stream {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        let mut command = node.command(arguments);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vyr starts");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if line.is_ok_and(|line| sender.send(line).is_err()) {
                    return;
                }
            }
        });
        Self {
            process,
            lines,
            all: Vec::new(),
        }
    }

    /// Waits for a line that is as wanted.
    fn until(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!(
                    "waited in vain for {what} ({error}):\n{}",
                    self.all.join("\n")
                )
            });
            self.all.push(line.clone());
            if wanted(&line) {
                return;
            }
        }
    }

    /// Presses Ctrl-C, which must end it quietly; gives all that it printed.
    fn interrupt(mut self) -> String {
        kill_process(Pid::from_child(&self.process), Signal::INT).expect("it runs");
        self.all.extend(self.lines.iter());
        let status = self.process.wait().expect("a child");
        let mut said = String::new();
        let stderr = self.process.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        assert!(status.success() && said.is_empty(), "{status}: {said}");
        self.all.iter().map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn the_trace_of_another_shards_task_ends_with_a_picture_of_its_steps() {
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let id = submit(&node, 1, &["sleep", "300"]);
    let elsewhere = shard_url(&node, 0);
    let follow = ["traces", "stream", "--task", &id, "--node", &elsewhere];
    // Once while it runs, and once when it has ended just now.
    for turn in ["running", "ended"] {
        let output = node.vyr(&follow, b"");
        let (text, said) = (stdout(&output), stderr(&output));
        assert!(output.status.success(), "{turn}: {said}\n{text}");
        let (lines, picture) = text.split_once("\n\n").expect("lines, then a picture");
        let field = |line: &str, index| line.split_whitespace().nth(index).map(str::to_owned);
        let span = |name: &str| {
            let mut lines = lines.lines();
            let line = lines.find(|line| field(line, 3).as_deref() == Some(name));
            line.unwrap_or_else(|| panic!("{turn}: no {name} in\n{text}"))
        };
        for step in STEPS {
            let line = span(step);
            assert_eq!(field(line, 2).as_ref(), Some(&id), "{line}");
            assert_eq!(field(line, 5).as_deref(), Some("ok"), "{line}");
            assert!(picture.contains(&format!("\n  {step} ")), "{picture}");
        }
        assert_eq!(field(span("task"), 5).as_deref(), Some("succeeded"));
        let execute = picture.lines().find(|line| line.starts_with("  execute "));
        let took = field(execute.expect("a step"), 2).expect("a time");
        let took_ms: f64 = took
            .strip_suffix("ms")
            .or_else(|| took.strip_suffix('s'))
            .and_then(|number| number.parse().ok())
            .expect("a time");
        // A machine under load may take seconds.
        assert!(took_ms >= 290.0 || !took.ends_with("ms"), "{took}");
        assert!(
            picture.starts_with("task ") && picture.contains('█'),
            "{picture}"
        );
    }
}

#[test]
fn a_trace_as_json_is_a_span_a_line_and_the_whole_comes_last() {
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let id = submit(&node, 0, &["exit", "3"]);
    let output = node.vyr(
        &["traces", "stream", "--task", &id, "--output", "json"],
        b"",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let spans: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let whole = spans.last().expect("spans");
    assert_eq!(whole["name"], "task");
    assert_eq!(whole["status"]["code"], 2);
    for step in STEPS {
        let span = spans.iter().find(|span| span["name"] == step);
        let span = span.unwrap_or_else(|| panic!("{step} is missing in {spans:#?}"));
        assert_eq!(span["parentSpanId"], whole["spanId"], "{step}");
        assert_eq!(span["traceId"], whole["traceId"], "{step}");
        for time in ["startTimeUnixNano", "endTimeUnixNano"] {
            let time = span[time].as_str().expect("a text");
            assert!(time.parse::<u64>().is_ok_and(|ns| ns > 0), "{step}: {time}");
        }
    }
}

#[test]
fn a_task_that_is_not_there_is_an_error_and_not_a_wait() {
    let node = Node::start(&["--shards", "1"]);
    let unknown = "t01hf7yat000000000000000000";
    let output = node.vyr(&["traces", "stream", "--task", unknown], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(unknown), "{}", stderr(&output));
}

#[test]
fn spans_of_one_artifact_stream_until_interrupted() {
    let node = Node::start(&[]);
    let digest = node.put("probe.wasm", "probe");
    node.put("hello.wasm", "hello");
    let follow = [
        "traces",
        "stream",
        "--artifact",
        "probe",
        "--output",
        "json",
    ];
    let mut stream = Stream::start(&node, &follow);
    // A shard's spans stream from the moment on at which it was first asked; tasks of each show
    // that it was.
    for shard in [0, 1] {
        let (url, shown) = (shard_url(&node, shard), format!("\"intValue\":\"{shard}\""));
        let address = url.strip_prefix("http://").expect("an HTTP URL");
        let started = Instant::now();
        let mut is_there = false;
        while !is_there {
            assert!(
                started.elapsed() < PATIENCE,
                "no span of shard {shard} came"
            );
            let answer = request(address, "GET", "/run/probe/hello", &[], b"");
            assert_eq!(answer.expect("the shard answers").status, 200);
            while let Ok(line) = stream.lines.recv_timeout(Duration::from_millis(100)) {
                is_there |= line.contains(&shown);
                stream.all.push(line);
            }
        }
    }
    assert_eq!(node.request("GET", "/run/hello/", &[], b"").status, 200);
    assert_eq!(node.request("GET", "/run/probe/trap", &[], b"").status, 502);
    stream.until("the task's end", |line| {
        line.contains("\"name\":\"task\"") && line.contains("guest_trap")
    });
    for line in stream.interrupt().lines() {
        assert!(line.contains(&digest), "{line}");
    }
}

#[test]
fn metrics_are_a_line_for_each_interval_and_shard() {
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let mut stream = Stream::start(&node, &["metrics", "stream", "--interval", "100ms"]);
    let mut seen = [0, 0];
    stream.until("both shards twice", |line| {
        let shard = line
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse::<usize>().ok());
        if let Some(count) = shard.and_then(|shard| seen.get_mut(shard)) {
            *count += 1;
        }
        seen.iter().all(|count| *count >= 2)
    });
    let text = stream.interrupt();
    assert!(text.starts_with("TIME "), "{text}");

    let mut one = Stream::start(
        &node,
        &[
            "metrics",
            "stream",
            "--shard",
            "1",
            "--interval",
            "100ms",
            "--output",
            "json",
        ],
    );
    one.until("a third line", {
        let mut lines = 0;
        move |_| {
            lines += 1;
            lines == 3
        }
    });
    for line in one.interrupt().lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["shard"], 1);
        assert!(event["unix_ms"].as_u64().is_some_and(|ms| ms > 0));
        assert!(
            event["families"]
                .as_array()
                .is_some_and(|list| !list.is_empty())
        );
    }
}

/// The log's histograms of a kind of tasks, over all shards: how many values they have together.
fn logged(log: &str, kind: &str) -> u64 {
    let entries = IntervalLogIterator::new(log.as_bytes());
    let histograms = entries.filter_map(|entry| match entry.expect("well formed") {
        LogEntry::Interval(histogram) => Some(histogram),
        _ => None,
    });
    histograms
        .filter(|histogram| {
            let tag = histogram.tag().expect("a tag").as_str().to_owned();
            tag.starts_with("vyr_task_seconds;shard=") && tag.ends_with(&format!(";kind={kind}"))
        })
        .map(|histogram| {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(histogram.encoded_histogram())
                .expect("base64");
            let values: hdrhistogram::Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .expect("a histogram");
            assert!(histogram.duration().as_millis() > 0);
            values.len()
        })
        .sum()
}

#[test]
fn the_histogram_log_reads_back_with_every_task() {
    const TASKS: u64 = 40;
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let mut stream = Stream::start(
        &node,
        &["metrics", "stream", "--hdr", "--interval", "100ms"],
    );
    // The first metrics of a shard are what later ones are compared with: commands show, on each
    // shard, that they were read.
    for shard in [0, 1] {
        let tag = format!("Tag=vyr_task_seconds;shard={shard};kind=command,");
        let started = Instant::now();
        let mut is_there = false;
        while !is_there {
            assert!(
                started.elapsed() < PATIENCE,
                "no interval of shard {shard} came"
            );
            submit(&node, shard, &["args"]);
            while let Ok(line) = stream.lines.try_recv() {
                is_there |= line.starts_with(&tag);
                stream.all.push(line);
            }
        }
    }
    for _ in 0..TASKS {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            200
        );
    }
    let mut log = stream.all.join("\n") + "\n";
    stream.until("all tasks", |line| {
        log.push_str(line);
        log.push('\n');
        logged(&log, "http") >= TASKS
    });
    let log = stream.interrupt();
    assert!(
        log.contains("#[Histogram log format version 1.3]\n#[StartTime: "),
        "{log}"
    );
    assert_eq!(logged(&log, "http"), TASKS);
    assert!(logged(&log, "command") > 0);
}

#[test]
fn top_shows_a_node_survives_its_shards_and_ends_on_q() {
    if !has("script") {
        return;
    }
    let node = Node::with_artifact(&[], "probe.wasm", "probe");
    let mut top = Terminal::start(&node.command(&["top", "--interval", "100ms"]));
    let is_whole = |screen: &str| {
        [
            "connected",
            "2 of 2 shards",
            "shard 0",
            "shard 1",
            "latency",
            "memory",
        ]
        .iter()
        .all(|part| screen.contains(part))
    };
    top.until("the node is shown", is_whole);
    // Its traces may begin a moment after it shows that it is connected.
    top.until("a task that failed is listed", |screen| {
        let is_listed = screen.contains(" failed ") && screen.contains(" probe ");
        if !is_listed {
            assert_eq!(node.request("GET", "/run/probe/trap", &[], b"").status, 502);
        }
        is_listed
    });
    top.press("\r");
    top.until("its steps are shown", |screen| {
        screen.contains("guest_trap") && STEPS.iter().all(|step| screen.contains(step))
    });
    top.press("\x1b");
    top.until("the list is back", |screen| screen.contains("ended tasks"));

    let id = submit(&node, 0, &["sleep", "60000"]);
    top.press("\t");
    top.until("it is listed as running", |screen| {
        screen.contains("running tasks") && screen.contains(&id[id.len() - 8..])
    });
    top.press("c");
    top.until("it asks", |screen| {
        screen.contains(&format!("cancel task {id}?"))
    });
    top.press("y");
    top.until("it is cancelled", |screen| {
        screen.contains(&format!("{id} is cancelled"))
    });
    assert_eq!(node.json(&format!("/v0/tasks/{id}"))["status"], "cancelled");

    // All shards at once: whatever connection it has breaks.
    let mut shards = Vec::new();
    until("both shards tell their process", || {
        shards = node.shards();
        shards.len() == 2
    });
    for shard in shards {
        let pid = i32::try_from(shard["pid"].as_i64().expect("a pid")).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it runs");
    }
    top.until("the loss is told", |screen| screen.contains("reconnecting"));
    top.press("x");
    top.until("it is connected again", is_whole);
    top.press("q");
    let (status, is_plain) = top.end();
    assert!(status.success(), "{status}");
    assert!(is_plain, "the terminal is left as it was");
}

#[test]
fn top_without_a_terminal_or_a_node_says_so() {
    let output = run(&["top"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("vyr metrics stream"),
        "{}",
        stderr(&output)
    );
    if !has("script") {
        return;
    }
    let mut top = Terminal::start(&vyr(&["top", "--node", "http://127.0.0.1:1"]));
    top.until("it says so", |screen| {
        screen.contains("error: http://127.0.0.1:1")
    });
    let (status, is_plain) = top.end();
    assert_eq!((status.code(), is_plain), (Some(1), true));
}

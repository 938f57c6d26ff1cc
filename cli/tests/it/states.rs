//! States over HTTP and on the command line, on a node of two shards.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

/// A node with `state-probe`, whose guest opens `a` and `b`.
fn node() -> Node {
    let node = Node::start(&[]);
    let manifest = node.dir.path().join("manifest.toml");
    let text = "[[state]]\nname = \"a\"\n[[state]]\nname = \"b\"\n";
    std::fs::write(&manifest, text).expect("written");
    for (file, name) in [("state-probe.wasm", "states"), ("probe.wasm", "probe")] {
        let output = node.vyr(
            &[
                "artifact",
                "put",
                &guest(file),
                "--name",
                name,
                "--manifest",
                manifest.to_str().expect("UTF-8"),
            ],
            b"",
        );
        assert!(output.status.success(), "{}", stderr(&output));
    }
    node
}

fn create(node: &Node, document: &Value) -> String {
    let json = ["content-type: application/json"];
    let answer = node.request("POST", "/v0/states", &json, document.to_string().as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let state = answer.json();
    let id = state["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        answer.header("location"),
        Some(&*format!("/v0/states/{id}"))
    );
    if let Some(shard) = document.get("shard") {
        assert_eq!(&state["shard"], shard);
    }
    id
}

fn key(id: &str, key: &str) -> String {
    format!("/v0/states/{id}/keys/{key}")
}

/// Runs operations of `state-probe` and gives its output.
fn operate(node: &Node, operations: &str, bindings: &[String]) -> String {
    let mut arguments = vec!["task", "submit", "states", "--wait"];
    for binding in bindings {
        arguments.extend(["--bind", binding]);
    }
    arguments.push("--");
    arguments.extend(operations.split(' '));
    let output = node.vyr(&arguments, b"");
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn keys_are_written_read_listed_and_deleted_from_any_shard() {
    let node = node();
    for shard in [0, 1] {
        let id = create(&node, &json!({"shard": shard, "linger_ms": 60_000}));
        // Connections land on both shards.
        for turn in 0..8 {
            // The empty key is a key.
            let name = if turn == 7 {
                String::new()
            } else {
                format!("folder/key%20{turn}")
            };
            let path = key(&id, &name);
            let put = node.request("PUT", &path, &[], format!("value {turn}").as_bytes());
            assert_eq!(put.status, 204, "{}", put.text());
            let got = node.request("GET", &path, &[], b"");
            assert_eq!((got.status, got.text()), (200, format!("value {turn}")));
            assert_eq!(got.header("etag"), put.header("etag"));
        }
        let page = node.json(&format!("/v0/states/{id}/keys"));
        assert_eq!(page["keys"].as_array().expect("keys").len(), 8);
        assert_eq!(page.get("next"), None);
        assert_eq!(node.json(&format!("/v0/states/{id}"))["keys"], 8);
        assert_eq!(
            node.request("DELETE", &key(&id, "folder/key%200"), &[], b"")
                .status,
            204
        );
        assert_eq!(
            node.request("DELETE", &key(&id, "folder/key%200"), &[], b"")
                .status,
            204
        );
        let gone = node.request("GET", &key(&id, "folder/key%200"), &[], b"");
        assert_eq!(
            (gone.status, gone.code()),
            (404, "state_key_not_found".into())
        );
    }
    let all = node.json("/v0/states?limit=1");
    assert_eq!(all["states"].as_array().expect("states").len(), 1);
    let next = all["next"].as_str().expect("more");
    let rest = node.json(&format!("/v0/states?cursor={next}"));
    assert_eq!(rest["states"].as_array().expect("states").len(), 1);
    let metrics = node.request("GET", "/metrics", &[], b"").text();
    assert!(
        metrics.contains("vyr_state_keys{shard=\"0\"} 7\n"),
        "{metrics}"
    );
}

#[test]
fn a_write_on_a_condition_happens_only_if_nobody_else_wrote() {
    let node = node();
    let id = create(&node, &json!({"linger_ms": 60_000}));
    let path = key(&id, "k");
    let put = |header: &str| node.request("PUT", &path, &[header], b"v");
    assert_eq!(put("if-match: \"1\"").status, 412);
    let first = put("if-none-match: *");
    assert_eq!(first.status, 204);
    assert_eq!(put("if-none-match: *").code(), "state_version_conflict");
    let tag = first.header("etag").expect("a version").to_owned();
    assert_eq!(put(&format!("if-match: {tag}")).status, 204);
    assert_eq!(put(&format!("if-match: {tag}")).status, 412);
    assert_eq!(put("if-match: *").status, 400);
    let delete = |header: &str| node.request("DELETE", &path, &[header], b"");
    assert_eq!(
        delete(&format!("if-match: {tag}")).code(),
        "state_version_conflict"
    );
    assert_eq!(delete("if-none-match: *").status, 412);
    assert_eq!(delete("if-match: 7").status, 400);
    let got = node.request("GET", &path, &[], b"");
    let tag = got.header("etag").expect("it is still there").to_owned();
    assert_eq!(delete(&format!("if-match: {tag}")).status, 204);
    assert_eq!(delete(&format!("if-match: {tag}")).status, 412);
    assert_eq!(delete("if-none-match: *").status, 204);
}

#[test]
fn bad_requests_name_what_is_wrong() {
    let node = node();
    let id = create(&node, &json!({"linger_ms": 60_000, "bytes_max": 100}));
    let json_type = ["content-type: application/json"];
    for (method, path, body, status, code) in [
        (
            "POST",
            "/v0/states".to_owned(),
            "{\"colour\": 1}",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/states".to_owned(),
            "{\"shard\": 7}",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/states".to_owned(),
            "{\"linger_ms\": 99999999999}",
            400,
            "request_invalid",
        ),
        (
            "POST",
            format!("/v0/states/{id}/bindings"),
            "{}",
            400,
            "request_invalid",
        ),
        (
            "POST",
            format!("/v0/states/{id}/bindings"),
            &format!("{{\"task\":\"t{}\",\"name\":\"a\"}}", "0".repeat(26)),
            404,
            "task_not_found",
        ),
        (
            "GET",
            "/v0/states/s1".to_owned(),
            "",
            400,
            "request_invalid",
        ),
        (
            "GET",
            format!("/v0/states/s{}", "0".repeat(26)),
            "",
            404,
            "state_not_found",
        ),
        (
            "GET",
            format!("/v0/states/{id}/keys?cursor=x"),
            "",
            400,
            "request_invalid",
        ),
        ("PUT", key(&id, "k"), &"x".repeat(100), 409, "state_full"),
        (
            "PUT",
            key(&id, &"k".repeat(2000)),
            "v",
            422,
            "state_key_too_large",
        ),
        (
            "PUT",
            key(&id, "k"),
            &"x".repeat((1 << 20) + 1),
            413,
            "request_too_large",
        ),
    ] {
        let answer = node.request(method, &path, &json_type, body.as_bytes());
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{method} {path}: {}",
            answer.text()
        );
    }
    let untyped = node.request("POST", "/v0/states", &[], b"{}");
    assert_eq!(untyped.code(), "media_type_unsupported");
    for bind in ["nonsense", "s1=a", &format!("{id}=a:wx")] {
        let path = format!("/v0/tasks?artifact=states&bind={bind}");
        assert_eq!(
            node.request("POST", &path, &[], b"").code(),
            "request_invalid",
            "{bind}"
        );
    }
    let unbound = node.request(
        "POST",
        &format!("/v0/tasks?artifact=states&bind={id}=c"),
        &[],
        b"",
    );
    assert_eq!(unbound.code(), "state_binding_refused");
    assert!(unbound.text().contains("[[state]]"), "{}", unbound.text());
}

#[test]
fn a_task_runs_where_its_first_state_is_and_reaches_the_others() {
    let node = node();
    let states: Vec<_> = [0, 1]
        .map(|shard| create(&node, &json!({"shard": shard, "linger_ms": 60_000})))
        .into();
    for (first, second) in [(0, 1), (1, 0)] {
        let bindings = [
            format!("{}=a", states[first]),
            format!("{}=b", states[second]),
        ];
        let operations = "a set where first -- b set where second -- b get where -- b increment n 2 -- b race n 3 -- \
            b get n -- b batch x 1 y 2 -- b list -- b delete x -- b swap s none 1 -- b swap s 1 2";
        let text = operate(&node, operations, &bindings);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..6], ["ok", "ok", "second", "2", "lost 0", "5"]);
        assert_eq!(
            lines[6..],
            ["x=1 y=2 missing=none", "3 n where y", "ok", "ok", "ok"]
        );
        let other = &states[second];
        let read = |name: &str| node.request("GET", &key(other, name), &[], b"").text();
        assert_eq!((read("where"), read("n")), ("second".into(), "5".into()));
        // The binding ends with the task.
        until("it is given back", || {
            node.json(&format!("/v0/states/{other}"))["bindings"] == 0
        });
        for name in ["where", "n", "y", "s"] {
            node.request("DELETE", &key(other, name), &[], b"");
        }
        let tasks = node.json("/v0/tasks?limit=1");
        assert_eq!(tasks["tasks"][0]["shard"], first);
    }
    // What may only be read is only read, there as here.
    let bindings = [format!("{}=a", states[0]), format!("{}=b:ro", states[1])];
    assert_eq!(
        operate(&node, "b set k v -- b get k", &bindings),
        "error: access-denied\nnone\n"
    );
    // An HTTP task is bound by a header.
    for state in &states {
        let header = format!("vyr-bind: {state}=a");
        let answer = node.request("GET", "/run/states/a/increment/http/1", &[&header], b"");
        assert_eq!((answer.status, answer.text()), (200, "1\n".into()));
    }
    let refused = node.request("GET", "/run/states/a/get/k", &["vyr-bind: x=a"], b"");
    assert_eq!(refused.code(), "request_invalid");
}

#[test]
fn a_state_is_bound_to_a_task_that_waits_on_another_shard() {
    let config = tempfile::NamedTempFile::new().expect("a file");
    writeln!(&config, "[limits.shard]\nrunning_max = 1").expect("written");
    let node = Node::start(&["--config", config.path().to_str().expect("UTF-8")]);
    let manifest = node.dir.path().join("manifest.toml");
    std::fs::write(&manifest, "[[state]]\nname = \"a\"\n").expect("written");
    let manifest = manifest.to_str().expect("UTF-8");
    for (file, name) in [("state-probe.wasm", "states"), ("probe.wasm", "probe")] {
        node.vyr(
            &[
                "artifact",
                "put",
                &guest(file),
                "--name",
                name,
                "--manifest",
                manifest,
            ],
            b"",
        );
    }
    let submit = |query: &str| {
        let answer = node.request("POST", &format!("/v0/tasks?{query}"), &[], b"");
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let anchor = create(&node, &json!({"shard": 0, "linger_ms": 60_000}));
    let far = create(&node, &json!({"shard": 1, "linger_ms": 60_000}));
    let busy = submit(&format!("artifact=probe&arg=spin&bind={anchor}=a"));
    until("it runs", || {
        node.json(&format!("/v0/tasks/{busy}"))["status"] == "running"
    });
    // A state that it does not need keeps the second task on the busy shard.
    let waiting = loop {
        let id = submit("artifact=states&arg=a&arg=set&arg=k&arg=v");
        if node.json(&format!("/v0/tasks/{id}"))["shard"] == 0 {
            break id;
        }
    };
    let bound = node.vyr(&["state", "bind", &far, &waiting, "a"], b"");
    assert!(bound.status.success(), "{}", stderr(&bound));
    let shown = node.json(&format!("/v0/tasks/{waiting}"));
    assert_eq!(
        shown["bindings"],
        json!([{"state": far, "name": "a", "mode": "rw"}])
    );
    let late = node.vyr(&["state", "bind", &far, &busy, "a"], b"");
    assert!(stderr(&late).contains("running"), "{}", stderr(&late));
    node.request("POST", &format!("/v0/tasks/{busy}/cancel"), &[], b"");
    let ended = node.json(&format!("/v0/tasks/{waiting}?wait=30s"));
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(node.request("GET", &key(&far, "k"), &[], b"").text(), "v");
}

#[test]
fn a_restarted_shard_says_which_states_are_lost() {
    let node = node();
    let states: Vec<_> = [0, 1]
        .map(|shard| create(&node, &json!({"shard": shard, "linger_ms": 60_000})))
        .into();
    for state in &states {
        node.request("PUT", &key(state, "k"), &[], b"v");
    }
    let sleeping = node
        .command(&[
            "task",
            "submit",
            "probe",
            "--wait",
            "--bind",
            &format!("{}=a", states[0]),
            "--bind",
            &format!("{}=b", states[1]),
            "--",
            "sleep",
            "600000",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut sleeping = sleeping.expect("it starts");
    until("both are bound", || {
        states
            .iter()
            .all(|state| node.json(&format!("/v0/states/{state}"))["bindings"] == 1)
    });
    let other = node.shards()[1]["address"].as_str().map(str::to_owned);
    let other = other.expect("an address");
    let shard = node.shards()[0]["pid"].as_u64().expect("a pid");
    let pid = rustix::process::Pid::from_raw(i32::try_from(shard).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    // Until it is back nobody knows.
    until("it says so itself", || {
        let shown = format!("/v0/states/{}", states[0]);
        let answer = request(&other, "GET", &shown, &[], b"").expect("an answer");
        let seen = (answer.status, answer.code());
        let known = seen == (410, "state_lost".into());
        assert!(
            known || seen == (503, "state_unreachable".into()),
            "{seen:?}"
        );
        known
    });
    assert!(!sleeping.wait().expect("a child").success());
    let code = |path: &str| node.request("GET", path, &[], b"").code();
    until("it is back", || node.shards().len() == 2);
    assert_eq!(code(&key(&states[0], "k")), "state_lost");
    let submitted = node.request(
        "POST",
        &format!("/v0/tasks?artifact=states&bind={}=a", states[0]),
        &[],
        b"",
    );
    assert_eq!((submitted.status, &*submitted.code()), (410, "state_lost"));
    // The other shard's state is still there; the lost task's binding to it runs out.
    assert_eq!(
        node.request("GET", &key(&states[1], "k"), &[], b"").text(),
        "v"
    );
    until("its lease is over", || {
        node.json(&format!("/v0/states/{}", states[1]))["bindings"] == 0
    });
}

#[test]
fn the_command_line_does_all_of_it() {
    let node = node();
    let create = node.vyr(
        &[
            "state",
            "create",
            "--linger",
            "120s",
            "--max-bytes",
            "1000",
            "--max-keys",
            "5",
            "--shard",
            "1",
        ],
        b"",
    );
    assert!(create.status.success(), "{}", stderr(&create));
    assert!(
        stderr(&create).contains("within 120 s"),
        "{}",
        stderr(&create)
    );
    let id = stdout(&create).trim().to_owned();
    let ok = |arguments: &[&str], input: &[u8]| {
        let mut all = vec!["state"];
        all.extend(arguments);
        let output = node.vyr(&all, input);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    };
    ok(&["put", &id, "k/1", "one"], b"");
    ok(&["put", &id, "k 2"], b"from standard input");
    assert_eq!(ok(&["get", &id, "k/1"], b""), "one");
    assert_eq!(ok(&["get", &id, "k 2"], b""), "from standard input");
    let mut keys: Vec<_> = ok(&["keys", &id], b"").lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["k 2", "k/1"]);
    ok(&["delete", &id, "k/1"], b"");
    assert!(ok(&["ls"], b"").contains(&id));
    let shown = ok(&["show", &id], b"");
    assert!(
        shown.contains("1 of 5") && shown.contains("of 1000"),
        "{shown}"
    );
    assert_eq!(
        operate(&node, "a get 'k -- a set new value", &[format!("{id}=a")]),
        "none\nok\n"
    );
    ok(&["rm", &id], b"");
    // The default may also be said.
    let brief = ok(&["create", "--linger", "0s"], b"");
    assert_eq!(
        node.json(&format!("/v0/states/{}", brief.trim()))["linger_ms"],
        0
    );
    let gone = node.vyr(&["state", "get", &id, "k"], b"");
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("no state"), "{}", stderr(&gone));
    // Without a node, each state is the run's own.
    let probe = guest("state-probe.wasm");
    let alone = run(
        &[
            "run",
            "--state",
            "a",
            &probe,
            "a",
            "increment",
            "n",
            "4",
            "--",
            "b",
            "get",
            "k",
        ],
        b"",
    );
    assert_eq!(
        stdout(&alone),
        "4\nerror: no-such-store\n",
        "{}",
        stderr(&alone)
    );
}

#[test]
fn settings_are_the_manifests_unless_the_submission_says_otherwise() {
    let node = Node::start(&[]);
    let manifest = node.dir.path().join("manifest.toml");
    std::fs::write(&manifest, "[config]\nregion = \"edge\"\nlevel = \"3\"\n").expect("written");
    let manifest = manifest.to_str().expect("UTF-8");
    let probe = guest("state-probe.wasm");
    let put = node.vyr(
        &[
            "artifact",
            "put",
            &probe,
            "--name",
            "states",
            "--manifest",
            manifest,
        ],
        b"",
    );
    assert!(put.status.success(), "{}", stderr(&put));
    let asked = ["config", "region", "--", "config", "missing"];
    let submit = |more: &[&str]| {
        let arguments = [
            &["task", "submit", "states", "--wait"],
            more,
            &["--"],
            &asked,
        ]
        .concat();
        stdout(&node.vyr(&arguments, b""))
    };
    assert_eq!(submit(&[]), "edge of 2\nnone of 2\n");
    assert_eq!(
        submit(&["--config", "region=cloud", "--config", "missing=x=y"]),
        "cloud of 3\nx=y of 3\n"
    );
    let answer = node.request("GET", "/run/states/config/level", &[], b"");
    assert_eq!(answer.text(), "3 of 2\n");
    let document =
        json!({"artifact": "states", "args": ["config", "region"], "config": {"region": "laptop"}});
    let headers = ["content-type: application/json"];
    let task = node.request(
        "POST",
        "/v0/tasks?wait=30s",
        &headers,
        document.to_string().as_bytes(),
    );
    let id = task.json()["id"].as_str().expect("an id").to_owned();
    let output = node.request("GET", &format!("/v0/tasks/{id}/output"), &[], b"");
    assert_eq!(output.text(), "laptop of 2\n");
    let alone = run(
        &["run", "--config", "region=here", &probe, "config", "region"],
        b"",
    );
    assert_eq!(stdout(&alone), "here of 1\n", "{}", stderr(&alone));
}

/// One operation as its client saw it.
#[derive(Clone, Copy)]
struct Event {
    began: Instant,
    ended: Instant,
    operation: Operation,
}

#[derive(Clone, Copy)]
enum Operation {
    Read(u64),
    Write(u64),
    /// From what was read to what was written; failed when somebody else wrote.
    Swap {
        from: u64,
        to: u64,
    },
}

/// Whether one order of the operations, which keeps the order of those that did not overlap, explains
/// what every client saw (Wing and Gong 1993).
fn is_linearizable(history: &[Event]) -> bool {
    let mut left: Vec<Event> = history.to_vec();
    left.sort_by_key(|event| event.began);
    let mut seen = HashSet::new();
    explain(&left, &mut vec![false; left.len()], 0, 0, &mut seen)
}

fn explain(
    events: &[Event],
    done: &mut Vec<bool>,
    count: usize,
    value: u64,
    seen: &mut HashSet<(Vec<bool>, u64)>,
) -> bool {
    if count == events.len() {
        return true;
    }
    if !seen.insert((done.clone(), value)) {
        return false;
    }
    let open = || (0..events.len()).filter(|&at| !done[at]);
    let first_end = open().map(|at| events[at].ended).min();
    let candidates: Vec<_> = open()
        .filter(|&at| Some(events[at].began) <= first_end)
        .collect();
    for at in candidates {
        let next = match events[at].operation {
            Operation::Read(read) if read == value => value,
            Operation::Write(written) => written,
            Operation::Swap { from, to } if from == value => to,
            _ => continue,
        };
        done[at] = true;
        if explain(events, done, count + 1, next, seen) {
            return true;
        }
        done[at] = false;
    }
    false
}

#[test]
fn the_checker_finds_histories_that_no_order_explains() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let event = |began, ended, operation| Event {
        began: at(began),
        ended: at(ended),
        operation,
    };
    let stale = [
        event(0, 1, Operation::Write(1)),
        event(2, 3, Operation::Read(0)),
    ];
    assert!(!is_linearizable(&stale));
    let overlapping = [
        event(0, 3, Operation::Write(1)),
        event(1, 2, Operation::Read(0)),
    ];
    assert!(is_linearizable(&overlapping));
    let lost = [
        event(0, 5, Operation::Swap { from: 0, to: 1 }),
        event(0, 5, Operation::Swap { from: 0, to: 2 }),
    ];
    assert!(!is_linearizable(&lost));
}

/// What one client of a history does, and has read of each key.
struct Client<'a> {
    node: &'a Node,
    state: &'a str,
    /// The guest's headers, and the name of its bucket; without them it is a client of the Control API.
    guest: Option<(&'a [String], &'a str)>,
    /// Versions over HTTP, values for guests; and the value.
    read: HashMap<String, (String, u64)>,
}

impl Client<'_> {
    /// One operation; `None` if it was refused because somebody else wrote.
    fn operate(&mut self, turn: u64, key: &str, mine: u64) -> Option<Operation> {
        match self.guest {
            None => self.by_http(turn, key, mine),
            Some((headers, bucket)) => Some(self.by_guest(headers, bucket, turn, key, mine)),
        }
    }

    fn by_http(&mut self, turn: u64, name: &str, mine: u64) -> Option<Operation> {
        let (path, text) = (key(self.state, name), mine.to_string());
        let put = |headers: &[&str]| self.node.request("PUT", &path, headers, text.as_bytes());
        match (turn % 3, self.read.remove(name)) {
            (1, Some((version, from))) => {
                let answer = put(&[&format!("if-match: {version}")]);
                match answer.status {
                    204 => Some(Operation::Swap { from, to: mine }),
                    412 => None,
                    _ => panic!("{}", answer.text()),
                }
            }
            (2, _) => {
                assert_eq!(put(&[]).status, 204);
                Some(Operation::Write(mine))
            }
            _ => {
                let got = self.node.request("GET", &path, &[], b"");
                let value = got.text().parse().expect("a number");
                let version = got.header("etag").expect("a version").to_owned();
                self.read.insert(name.into(), (version, value));
                Some(Operation::Read(value))
            }
        }
    }

    fn by_guest(
        &mut self,
        headers: &[String],
        bucket: &str,
        turn: u64,
        name: &str,
        mine: u64,
    ) -> Operation {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let run = |words: String| {
            let path = format!("/run/states/{bucket}/{words}");
            let answer = self.node.request("GET", &path, &headers, b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.text().trim().to_owned()
        };
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text}"));
        match (turn % 4, self.read.remove(name)) {
            (1, Some((_, from))) => {
                let line = run(format!("swap/{name}/{from}/{mine}"));
                match line.rsplit_once("is ") {
                    None => {
                        assert_eq!(line, "ok");
                        Operation::Swap { from, to: mine }
                    }
                    Some((_, now)) => Operation::Read(number(now)),
                }
            }
            (2, _) => {
                assert_eq!(run(format!("set/{name}/{mine}")), "ok");
                Operation::Write(mine)
            }
            (3, _) => {
                let to = number(&run(format!("increment/{name}/1")));
                Operation::Swap { from: to - 1, to }
            }
            _ => {
                let value = number(&run(format!("get/{name}")));
                self.read.insert(name.into(), (String::new(), value));
                Operation::Read(value)
            }
        }
    }
}

#[test]
fn recorded_histories_are_linearizable() {
    let node = node();
    let keys = ["k0", "k1"];
    let mut swaps = 0;
    for round in 0..10 {
        let of_shard = |shard| create(&node, &json!({"linger_ms": 60_000, "shard": shard}));
        let (state, other) = (of_shard(round % 2), of_shard((round + 1) % 2));
        for name in keys {
            node.request("PUT", &key(&state, name), &[], b"0");
        }
        // Guests on the state's shard, and guests that run on the other one because of their first state.
        let near = [format!("vyr-bind: {state}=a")];
        let far = [
            format!("vyr-bind: {other}=a"),
            format!("vyr-bind: {state}=b"),
        ];
        let ways = [None, Some((&near[..], "a")), Some((&far[..], "b"))];
        let histories = Mutex::new(HashMap::<&str, Vec<Event>>::new());
        // Each client is on connections of its own, which land on both shards.
        std::thread::scope(|scope| {
            for client in 0..6u64 {
                let (node, state, histories) = (&node, &state, &histories);
                let guest = ways[client as usize % 3];
                scope.spawn(move || {
                    let mut does = Client {
                        node,
                        state,
                        guest,
                        read: HashMap::new(),
                    };
                    for turn in 0..12u64 {
                        let name = keys[((client + turn) / 2 % 2) as usize];
                        // Far enough from the others' that no increment comes there.
                        let mine = (1000 * round + 100 * (client + 1) + turn) * 1000;
                        let began = Instant::now();
                        let Some(operation) = does.operate(client + turn, name, mine) else {
                            continue;
                        };
                        let ended = Instant::now();
                        let mut histories = histories.lock().expect("no panic");
                        histories.entry(name).or_default().push(Event {
                            began,
                            ended,
                            operation,
                        });
                    }
                });
            }
        });
        // What is linearizable key by key is so as a whole (Herlihy and Wing 1990).
        for (name, history) in histories.into_inner().expect("no panic") {
            assert!(history.len() > 15, "{name}: {}", history.len());
            assert!(is_linearizable(&history), "round {round}, {name}");
            let is_swap = |event: &&Event| matches!(event.operation, Operation::Swap { .. });
            swaps += history.iter().filter(is_swap).count();
        }
    }
    assert!(swaps > 100, "{swaps}");
}

//! The Control API over plain HTTP: what clients may rely on.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::*;

const JSON: &[&str] = &["content-type: application/json"];

fn probe(arguments: &[&str]) -> Node {
    Node::with_artifact(arguments, "probe.wasm", "probe")
}

#[test]
fn a_task_is_submitted_observed_and_read() {
    let node = probe(&[]);
    let document = json!({"artifact": "probe", "args": ["upper"], "input": "hello"});
    let answer = node.request(
        "POST",
        "/v0/tasks?wait=30s",
        JSON,
        document.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let task = answer.json();
    assert_eq!(
        (&task["status"], &task["exit_code"]),
        (&json!("succeeded"), &json!(0))
    );
    let id = task["id"].as_str().expect("an id");
    assert_eq!(
        answer.header("location"),
        Some(format!("/v0/tasks/{id}").as_str())
    );
    // From whichever shard the connection lands on.
    for _ in 0..8 {
        assert_eq!(node.json(&format!("/v0/tasks/{id}"))["id"], task["id"]);
        assert_eq!(
            node.request("GET", &format!("/v0/tasks/{id}/output"), &[], b"")
                .text()
                .trim_end(),
            "HELLO"
        );
        let listed = node.json("/v0/tasks?limit=5");
        assert_eq!(listed["tasks"][0]["id"], task["id"]);
    }
    let accepted = node.request(
        "POST",
        "/v0/tasks",
        JSON,
        json!({"artifact": "probe", "args": ["sleep", "60000"]})
            .to_string()
            .as_bytes(),
    );
    assert_eq!(accepted.status, 202);
    let id = accepted.json()["id"].as_str().expect("an id").to_owned();
    let cancelled = node
        .request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"")
        .json();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let again = node
        .request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"")
        .json();
    assert_eq!(again, cancelled);
}

#[test]
fn lists_are_paged_over_all_shards() {
    let node = probe(&[]);
    let document = json!({"artifact": "probe", "args": ["exit", "0"]}).to_string();
    for _ in 0..25 {
        assert_eq!(
            node.request("POST", "/v0/tasks?wait=30s", JSON, document.as_bytes())
                .status,
            200
        );
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.json(&format!("/v0/tasks?limit=7{cursor}"));
        seen.extend(
            page["tasks"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|task| task["id"].as_str().expect("an id").to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(
        (seen.len(), &seen),
        (25, &sorted),
        "each once, newest first"
    );
    assert_eq!(node.json("/v0/tasks?status=failed")["tasks"], json!([]));
}

#[test]
fn bad_requests_are_refused_with_a_stable_code() {
    let node = probe(&[]);
    let nul = "0".repeat(26);
    for (method, path, headers, body, status, code) in [
        ("GET", "/nowhere", &[][..], "", 404, "not_found"),
        ("DELETE", "/v0/tasks", &[], "", 405, "method_not_allowed"),
        ("GET", "/v0/tasks/t123", &[], "", 400, "request_invalid"),
        (
            "GET",
            &format!("/v0/tasks/t{nul}"),
            &[],
            "",
            404,
            "task_not_found",
        ),
        (
            "GET",
            "/v0/tasks?colour=red",
            &[],
            "",
            400,
            "request_invalid",
        ),
        ("GET", "/v0/tasks?limit=0", &[], "", 400, "request_invalid"),
        (
            "GET",
            "/v0/tasks?status=asleep",
            &[],
            "",
            400,
            "request_invalid",
        ),
        (
            "GET",
            "/v0/artifacts/none",
            &[],
            "",
            404,
            "artifact_not_found",
        ),
        ("GET", "/run/none/x", &[], "", 404, "artifact_not_found"),
        ("GET", "/internal/shard", &[], "", 404, "not_found"),
        ("POST", "/v0/tasks", JSON, "{", 400, "request_invalid"),
        (
            "POST",
            "/v0/tasks",
            JSON,
            "{\"artifact\":\"probe\",\"colour\":1}",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/tasks",
            JSON,
            "{\"artifact\":\"none\"}",
            404,
            "artifact_not_found",
        ),
        (
            "POST",
            "/v0/tasks",
            &["content-type: text/plain"],
            "x",
            415,
            "media_type_unsupported",
        ),
        (
            "POST",
            "/v0/tasks?artifact=probe&wait=1h",
            &[],
            "",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/tasks?artifact=probe&env=NOVALUE",
            &[],
            "",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/tasks?artifact=probe&output=file",
            &[],
            "",
            400,
            "request_invalid",
        ),
        (
            "POST",
            "/v0/tasks?artifact=probe&timeout=0s",
            &[],
            "",
            400,
            "request_invalid",
        ),
        (
            "PUT",
            "/v0/artifacts",
            &["content-type: application/wasm"],
            "junk",
            422,
            "artifact_invalid",
        ),
        (
            "PUT",
            "/v0/artifacts",
            &["content-type: text/html"],
            "junk",
            415,
            "media_type_unsupported",
        ),
        (
            "PUT",
            "/v0/artifacts",
            &["content-type: multipart/form-data"],
            "junk",
            400,
            "request_invalid",
        ),
        (
            "PUT",
            "/v0/artifacts",
            &["content-type: application/x-tar"],
            "junk",
            422,
            "artifact_invalid",
        ),
        (
            "PUT",
            "/v0/artifacts?name=UPPER",
            &["content-type: application/wasm"],
            "junk",
            400,
            "request_invalid",
        ),
    ] {
        let answer = node.request(method, path, headers, body.as_bytes());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path}: {}",
            answer.text()
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.json()["status"], json!(status));
    }
}

#[test]
fn failing_http_tasks_are_problems_that_name_their_task() {
    let node = probe(&[]);
    for (path, status, code) in [
        ("/run/probe/trap", 502, "guest_trap"),
        ("/run/probe/no-response", 502, "guest_no_response"),
    ] {
        let answer = node.request("GET", path, &[], b"");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{}",
            answer.text()
        );
        let id = answer.json()["task"].as_str().expect("a task").to_owned();
        assert_eq!(node.json(&format!("/v0/tasks/{id}"))["status"], "failed");
    }
    let answer = node.request("GET", "/run/probe/status/418", &[], b"");
    assert_eq!(answer.status, 418, "a guest's own status passes");
    assert!(answer.header("vyr-task-id").is_some());
    let answer = node.request(
        "GET",
        "/run/probe/headers?a=b",
        &["authorization: Bearer secret", "x-mine: yes"],
        b"",
    );
    assert!(
        answer.text().contains("x-mine") && !answer.text().contains("secret"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_trace_is_taken_up_and_returned() {
    let node = probe(&[]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    let answer = node.request("GET", "/run/probe/hello", &[&header], b"");
    let returned = answer.header("traceparent").expect("returned").to_owned();
    assert!(
        returned.starts_with(&format!("00-{trace}-")) && !returned.contains("b7ad6b7169203331"),
        "{returned}"
    );
    let id = answer.header("vyr-task-id").expect("a task").to_owned();
    assert_eq!(node.json(&format!("/v0/tasks/{id}"))["trace_id"], trace);
}

#[test]
fn a_guest_gets_the_trace_as_its_task_continues_it() {
    let node = probe(&[]);
    let state = "tracestate: vendor=1,other=2";
    let valid = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (sent, has_state) in [
        (&[valid, state][..], true),
        (&[], false),
        // Of a trace that is not taken up, nothing is left.
        (&[valid, valid, state], false),
        (&["traceparent: garbage", state], false),
        (&[state], false),
    ] {
        let answer = node.request("GET", "/run/probe/headers", sent, b"");
        let returned = answer.header("traceparent").expect("returned").to_owned();
        let seen = answer.text();
        let seen: Vec<_> = seen
            .lines()
            .filter_map(|line| line.strip_prefix("header "))
            .filter(|line| line.starts_with("trace"))
            .collect();
        let mut wanted = vec![format!("traceparent: {returned}")];
        wanted.extend(has_state.then(|| state.to_owned()));
        assert_eq!(seen, wanted, "{sent:?}");
    }
}

#[test]
fn a_trace_header_that_is_not_right_starts_a_new_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let node = probe(&[]);
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let long = "x".repeat(8000);
    // The headers, and the flags that come back if the client's trace goes on.
    let continued: [(&[&str], &str); 4] = [
        (&[&valid], "01"),
        (&[&format!("00-{TRACE}-{PARENT}-00")], "00"),
        // A later version is read as far as this one goes, however long it is.
        (&[&format!("cc-{TRACE}-{PARENT}-01-{long}")], "01"),
        (&[&format!("cc-{TRACE}-{PARENT}-01")], "01"),
    ];
    let refused: [&[&str]; 13] = [
        &[&valid, &valid],
        &[&valid, &format!("00-{TRACE}-{}-01", "1".repeat(16))],
        &[""],
        &["garbage"],
        &[&valid[..54]],
        &[&format!("{valid}-{long}")],
        &[&format!("{valid}.")],
        &[&format!("ff-{TRACE}-{PARENT}-01")],
        &[&format!("00-{}-{PARENT}-01", "0".repeat(32))],
        &[&format!("00-{TRACE}-{}-01", "0".repeat(16))],
        &[&valid.to_uppercase()],
        &[&valid.replace('-', "_")],
        &[&format!("00-{}-{PARENT}-01", TRACE.replace('a', "g"))],
    ];
    let returned = |values: &[&str]| {
        let headers: Vec<_> = values
            .iter()
            .map(|value| format!("traceparent: {value}"))
            .collect();
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = node.request("GET", "/run/probe/hello", &headers, b"");
        assert_eq!(answer.status, 200, "{values:?}");
        answer.header("traceparent").expect("returned").to_owned()
    };
    for (values, flags) in continued {
        let found = returned(values);
        assert!(
            found.starts_with(&format!("00-{TRACE}-")),
            "{values:?}: {found}"
        );
        assert!(found.ends_with(&format!("-{flags}")), "{values:?}: {found}");
    }
    for values in refused {
        let found = returned(values);
        assert!(!found.contains(TRACE), "{values:?}: {found}");
        assert!(
            found.len() == 55 && found.ends_with("-01"),
            "{values:?}: {found}"
        );
    }
}

#[test]
fn an_idempotency_key_works_from_every_shard() {
    let node = probe(&[]);
    let document = json!({"artifact": "probe", "args": ["exit", "0"]}).to_string();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let headers = [JSON[0], "idempotency-key: the-same"];
        let answer = node.request("POST", "/v0/tasks?wait=30s", &headers, document.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        ids.insert(answer.json()["id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(ids.len(), 1);
    let other = json!({"artifact": "probe", "args": ["exit", "1"]}).to_string();
    let headers = [JSON[0], "idempotency-key: the-same"];
    let answer = node.request("POST", "/v0/tasks", &headers, other.as_bytes());
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "idempotency_conflict")
    );
}

#[test]
fn metrics_and_node_show_every_shard() {
    let node = probe(&[]);
    for _ in 0..20 {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            200
        );
    }
    let shards = node.shards();
    assert_eq!(shards.len(), 2);
    for shard in &shards {
        assert!(
            ["io_uring", "epoll"].contains(&shard["executor"].as_str().expect("text")),
            "{shard}"
        );
        assert!(
            shard["executor_reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        );
    }
    // A guest may end a moment after its response has gone out.
    until("every task is counted", || {
        let accept = "accept: application/openmetrics-text";
        let text = node.request("GET", "/metrics", &[accept], b"").text();
        assert!(text.ends_with("# EOF\n"));
        let total: u64 = text
            .lines()
            .filter(|line| {
                line.starts_with("vyr_tasks_total{")
                    && line.contains("kind=\"http\"")
                    && line.contains("succeeded")
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert!(total <= 20, "{text}");
        total == 20
    });
    assert_eq!(node.request("GET", "/healthz", &[], b"").status, 200);
    assert_eq!(node.request("GET", "/readyz", &[], b"").status, 200);
}

#[test]
fn metrics_tell_what_the_shards_do() {
    let node = probe(&[]);
    let digest = node.json("/v0/artifacts/probe")["digest"].clone();
    let artifact = format!("artifact=\"{}\"", &digest.as_str().expect("text")[..19]);
    assert!(metric(&node, "vyr_instances_live_max", &[]) >= 2.0);
    assert!(metric(&node, "vyr_memory_resident_bytes", &[]) > 2e6);
    let cpu_before = metric(&node, "vyr_executor_cpu_seconds_total", &[]);
    let mut spinning = TcpStream::connect(node.address()).expect("the node listens");
    let head = format!(
        "GET /run/probe/spin HTTP/1.1\r\nhost: {}\r\n\r\n",
        node.address()
    );
    spinning.write_all(head.as_bytes()).expect("it reads");
    until("the spinning guest is seen", || {
        metric(&node, "vyr_instances_live", &[]) >= 1.0
            && metric(&node, "vyr_connections", &[]) >= 1.0
            && metric(&node, "vyr_epoch_yields_total", &[]) >= 50.0
    });
    drop(spinning);
    until("the task is counted", || {
        metric(
            &node,
            "vyr_artifact_tasks_total",
            &[&artifact, "status=\"cancelled\""],
        ) == 1.0
    });
    let cpu = metric(&node, "vyr_executor_cpu_seconds_total", &[]) - cpu_before;
    assert!(cpu >= 0.02, "{cpu} s of CPU time");
    let of_artifact = metric(&node, "vyr_artifact_cpu_seconds_total", &[&artifact]);
    assert!((0.02..60.0).contains(&of_artifact), "{of_artifact} s");
    assert!(metric(&node, "vyr_artifact_execute_seconds_total", &[&artifact]) >= of_artifact);
    // Whichever shard answers, one of the two has to be asked.
    let tasks = node.json("/v0/tasks?limit=1");
    let id = tasks["tasks"][0]["id"].as_str().expect("an id").to_owned();
    for shard in node.shards() {
        let address = shard["address"].as_str().expect("an address");
        let answer = request(address, "GET", &format!("/v0/tasks/{id}"), &[], b"");
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(metric(&node, "vyr_forward_hops_total", &[]), 1.0);
}

#[test]
fn metrics_count_loads_instances_and_what_is_kept() {
    let config = tempfile::tempdir().expect("a temporary directory");
    let file = config.path().join("vyr.toml");
    std::fs::write(&file, "[limits.shard]\nfinished_max = 2\n").expect("writable");
    let node = probe(&["--shards", "1", "--config", file.to_str().expect("UTF-8")]);
    let manifest = config.path().join("manifest.toml");
    std::fs::write(&manifest, "[instances]\npolicy = \"reuse\"\n").expect("writable");
    let (hello, manifest) = (guest("hello.wasm"), manifest.to_str().expect("UTF-8"));
    let put = [
        "artifact",
        "put",
        &hello,
        "--name",
        "again",
        "--manifest",
        manifest,
    ];
    let put = node.vyr(&put, b"");
    assert!(put.status.success(), "{}", stderr(&put));
    let counts = || {
        [
            "cold_starts_total",
            "instances_reused_total",
            "instances_idle",
            "instances_live",
        ]
        .map(|name| metric(&node, &format!("vyr_{name}"), &[]))
    };
    let get = |path: &str| {
        assert_eq!(node.request("GET", path, &[], b"").status, 200);
        // A guest may end a moment after its response has gone out.
        until("the guest has ended", || {
            metric(&node, "vyr_tasks_running", &[]) == 0.0
        });
    };
    assert_eq!(counts(), [0.0; 4]);
    get("/run/probe/hello");
    get("/run/probe/hello");
    assert_eq!(counts(), [1.0, 0.0, 0.0, 0.0]);
    (0..4).for_each(|_| get("/run/again/"));
    assert_eq!(counts(), [2.0, 3.0, 1.0, 1.0]);

    let kept = || {
        let of = |name| metric(&node, name, &[]);
        (of("vyr_tasks_kept"), of("vyr_tasks_kept_bytes"))
    };
    assert_eq!(kept(), (6.0, 0.0), "HTTP tasks, whose responses are gone");
    // Two commands are kept, then each takes the place of the one before.
    for (arguments, tasks, bytes) in [
        (&["args", "four"][..], 7.0, 5.0),
        (&["stderr", "three"], 8.0, 5.0 + 6.0),
        (&["exit", "0"], 8.0, 6.0),
        (&["args", "a"], 8.0, 2.0),
    ] {
        let document = json!({"artifact": "probe", "args": arguments}).to_string();
        let answer = node.request("POST", "/v0/tasks?wait=30s", JSON, document.as_bytes());
        assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text());
        assert_eq!(kept(), (tasks, bytes), "{arguments:?}");
    }
}

#[test]
fn artifacts_that_were_deleted_give_their_place_in_the_metrics_up() {
    const LABELS: usize = vyr_core::limits::ARTIFACT_LABELS_MAX;
    let node = Node::start(&["--shards", "2"]);
    let hello = std::fs::read(guest("hello.wasm")).expect("the guest");
    let addresses = node.shards().into_iter().map(|shard| {
        let address = shard["address"].as_str().expect("an address");
        address.to_owned()
    });
    let addresses: Vec<_> = addresses.collect();
    let runs = |artifact: &str| {
        for address in &addresses {
            let answer = request(address, "GET", &format!("/run/{artifact}/"), &[], b"");
            assert_eq!(answer.expect("an answer").status, 200);
        }
    };
    // The same guest as many artifacts: a custom section of one byte makes the difference.
    let put = |number: usize| {
        let wasm = [&hello[..], &[0, 2, 1, number as u8]].concat();
        let wasm_type = ["content-type: application/wasm"];
        let path = format!("/v0/artifacts?name=a{number}");
        let answer = node.request("PUT", &path, &wasm_type, &wasm);
        assert!(answer.status < 300, "{}", answer.text());
        runs(&format!("a{number}"));
        let digest = node.json(&format!("/v0/artifacts/a{number}"))["digest"].clone();
        digest.as_str().expect("text").to_owned()
    };
    let delete = |digest: &String| {
        let answer = node.request("DELETE", &format!("/v0/artifacts/{digest}"), &[], b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    let counted = |digest: &str| {
        let label = format!("artifact=\"{}\"", &digest[..19]);
        let labels = [label.as_str(), "status=\"succeeded\""];
        metric(&node, "vyr_artifact_tasks_total", &labels)
    };
    let first: Vec<_> = (0..LABELS).map(put).collect();
    let later = put(LABELS);
    until("all have run", || {
        first.iter().all(|digest| counted(digest) == 2.0)
    });
    assert_eq!(counted(&later), 0.0);
    first[1..].iter().for_each(delete);
    // On either shard, whichever it was that deleted them.
    until("it is counted on both shards", || {
        runs(&later);
        let shards = ["shard=\"0\"", "shard=\"1\""];
        shards.iter().all(|shard| {
            let label = format!("artifact=\"{}\"", &later[..19]);
            metric(&node, "vyr_artifact_tasks_total", &[shard, &label]) > 0.0
        })
    });
    assert_eq!(counted(&first[0]), 2.0, "it is still there");
    assert_eq!(counted(&first[1]), 0.0);
}

#[test]
fn the_longest_stall_is_that_of_the_last_ten_seconds() {
    let node = probe(&["--shards", "1"]);
    let shard = node.shards()[0]["pid"].as_i64().expect("a number");
    let shard = Pid::from_raw(i32::try_from(shard).expect("a process")).expect("a process");
    let stall = || metric(&node, "vyr_executor_stall_seconds", &[]);
    let spin = node.request("POST", "/v0/tasks?artifact=probe&arg=spin", &[], b"");
    let id = spin.json()["id"].as_str().expect("an id").to_owned();
    assert!(stall() < 0.9, "{} s", stall());
    // Stopped as a whole, the guest has the executor for that time; unless it was between two slices.
    let mut stopped = Instant::now();
    until("the stall is seen", || {
        kill_process(shard, Signal::STOP).expect("it runs");
        std::thread::sleep(Duration::from_secs(1));
        kill_process(shard, Signal::CONT).expect("it is there");
        stopped = Instant::now();
        stall() >= 0.9
    });
    until("the stall is forgotten", || stall() < 0.9);
    let seconds = stopped.elapsed().as_secs_f64();
    assert!(seconds > 8.0, "it is forgotten after {seconds} s");
    node.request("POST", &format!("/v0/tasks/{id}/cancel"), &[], b"");
}

#[test]
fn the_openapi_document_and_the_server_agree() {
    let node = probe(&[]);
    let document = node.json("/v0/openapi.json");
    let known_codes: Vec<_> = vyr_core::problem::Code::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();
    assert_eq!(
        document["components"]["schemas"]["Code"]["enum"],
        json!(known_codes)
    );
    for (path, item) in document["paths"].as_object().expect("paths") {
        let kind = if path.starts_with("/v0/states") {
            "s"
        } else {
            "t"
        };
        let concrete = path
            .replace("{ref}", "probe")
            .replace("{id}", &format!("{kind}{}", "0".repeat(26)))
            .replace("{key}", "key")
            .replace("{path}", "hello");
        for method in ["get", "put", "post", "delete", "patch"] {
            let documented = item.get(method).is_some();
            if path.starts_with("/run/") || method == "delete" && documented {
                continue;
            }
            let answer = node.request(&method.to_uppercase(), &concrete, &[], b"");
            let exists =
                answer.status != 405 && !(answer.status == 404 && answer.code() == "not_found");
            assert_eq!(exists, documented, "{method} {path}: {}", answer.status);
            if !exists {
                continue;
            }
            let operation = &item[method];
            if answer.status == 200 {
                assert!(
                    operation["responses"].get("200").is_some(),
                    "{method} {path}"
                );
            } else {
                assert!(
                    known_codes.contains(&answer.code().as_str()),
                    "{method} {path}"
                );
            }
        }
    }
    check_schema(&document, "Task", &node.json("/v0/tasks?limit=1")["tasks"]);
    check_schema(&document, "Shard", &node.json("/v0/node")["shards"]);
    check_schema(
        &document,
        "Artifact",
        &node.json("/v0/artifacts")["artifacts"],
    );
}

/// Every field of these documents is described, and every required field is there.
fn check_schema(document: &Value, schema: &str, instances: &Value) {
    let schema = &document["components"]["schemas"][schema];
    for instance in instances.as_array().expect("a list") {
        for key in instance.as_object().expect("an object").keys() {
            assert!(
                schema["properties"].get(key).is_some(),
                "{key} is not described"
            );
        }
        for required in schema["required"].as_array().expect("a list") {
            assert!(
                instance.get(required.as_str().expect("text")).is_some(),
                "{required} is missing"
            );
        }
    }
}

#[test]
fn a_token_guards_everything_but_the_probes() {
    let secrets = tempfile::tempdir().expect("a temporary directory");
    let file = secrets.path().join("token");
    std::fs::write(&file, "a-token-of-some-length\n").expect("writable");
    let file = file.to_str().expect("UTF-8");
    let node = Node::start(&["--token-file", file]);
    assert_eq!(node.request("GET", "/healthz", &[], b"").status, 200);
    for path in ["/v0/node", "/metrics", "/run/x/", "/v0/artifacts"] {
        let answer = node.request("GET", path, &[], b"");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "unauthorized"),
            "{path}"
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let header = "authorization: Bearer a-token-of-some-length";
    assert_eq!(node.request("GET", "/v0/node", &[header], b"").status, 200);
    assert!(
        node.vyr(&["task", "ls", "--token-file", file], b"")
            .status
            .success()
    );
    assert_eq!(node.vyr(&["task", "ls"], b"").status.code(), Some(1));
    let socket = format!(
        "unix:{}",
        node.data_dir().join("run/shard-0.sock").display()
    );
    assert!(
        run(&["task", "ls", "--node", &socket], b"")
            .status
            .success(),
        "the socket is the user's own"
    );
}

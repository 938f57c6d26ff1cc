//! A shard of its own for each test, on each executor that the machine allows.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use vyr_core::artifact::Manifest;
use vyr_core::digest::Digest;
use vyr_core::limits::ShardLimits;
use vyr_shard::artifact::{Compiler, inspect};
use vyr_shard::rt::{self, ExecutorChoice, ExecutorConfig};
use vyr_shard::{Pipe, PipeEnd, ResponseBody, Shard, ShardConfig, Submit, Task};

/// Longest time any single thing in a test may take; far above what it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A guest committed with the project.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../workloads/artifacts")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compiled code survives from test to test, as it does from start to start of a node.
fn data_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shard-tests")
}

pub(crate) fn config(limits: ShardLimits) -> ShardConfig {
    ShardConfig {
        limits,
        ..ShardConfig::alone(data_dir(), Compiler::InProcess)
    }
}

/// Runs a test on each executor.
pub(crate) fn on_each_executor(limits: ShardLimits, test: impl AsyncFn(Rc<Shard>)) {
    on_each_executor_with(config(limits), test);
}

/// As [`on_each_executor`], with settings.
pub(crate) fn on_each_executor_with(config: ShardConfig, test: impl AsyncFn(Rc<Shard>)) {
    for choice in [ExecutorChoice::IoUring, ExecutorChoice::Epoll] {
        let decision = match rt::decide(choice) {
            Ok(decision) => decision,
            Err(error) => {
                assert!(
                    std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
                    "{choice}: {error}"
                );
                eprintln!("skipped: {choice}: {error}");
                continue;
            }
        };
        let config_of = ExecutorConfig {
            kind: decision.kind,
            cpu: None,
            name: "test".into(),
        };
        let run = rt::run(&config_of, || async {
            let shard = Shard::open(config.clone()).expect("a shard opens");
            let tested = rt::timeout(4 * PATIENCE, test(Rc::clone(&shard))).await;
            tested.expect("the test ends in time");
            assert_eq!(
                (shard.running(), shard.queued()),
                (0, 0),
                "every task has ended"
            );
            assert_eq!(rt::panics(), 0, "nothing panicked");
        });
        run.expect("the executor runs");
    }
}

/// Makes a guest runnable.
pub(crate) async fn adopt(shard: &Shard, name: &str, manifest: Manifest) -> Digest {
    // The same guest as another artifact: a custom section of one byte makes the difference.
    let wasm = match name.strip_suffix("-again.wasm") {
        Some(name) => [guest(&format!("{name}.wasm")), vec![0, 2, 1, b'x']].concat(),
        None => guest(name),
    };
    let component = inspect(&wasm).expect("an artifact").component.into_owned();
    shard
        .adopt(component, manifest)
        .await
        .expect("it compiles and links")
}

pub(crate) async fn probe(shard: &Shard) -> Digest {
    adopt(shard, "probe.wasm", Manifest::default()).await
}

/// A task of `artifact` with these arguments and no input.
pub(crate) fn submit(shard: &Shard, artifact: Digest, arguments: &[&str]) -> Submit {
    let input = Pipe::new(0);
    input.end(PipeEnd::Complete);
    Submit {
        artifact,
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: Vec::new(),
        bindings: Vec::new(),
        config: Vec::new(),
        wall_ms_max: None,
        input,
        stream_output: false,
        arrival: shard.arrival(None),
        idempotency: None,
    }
}

/// Submits and waits for the end.
pub(crate) async fn run(shard: &Rc<Shard>, submit: Submit) -> Rc<Task> {
    let task = shard.submit(submit).await.expect("it is accepted").task;
    ended(&task).await;
    task
}

pub(crate) async fn ended(task: &Task) {
    rt::timeout(PATIENCE, task.ended())
        .await
        .expect("the task ends in time");
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            rt::sleep(Duration::from_millis(1)).await;
        }
    };
    rt::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

pub(crate) fn output(task: &Task) -> String {
    let bytes = task.output().expect("the output is kept");
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

/// An HTTP request without a body.
pub(crate) fn get(path: &str) -> http::Request<Body> {
    request("GET", path, Bytes::new())
}

pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, vyr_shard::BodyError>;

pub(crate) fn request(method: &str, path: &str, body: Bytes) -> http::Request<Body> {
    let body = http_body_util::Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test");
    request.body(body).expect("a well-formed request")
}

pub(crate) async fn text(response: http::Response<ResponseBody>) -> String {
    let body = response
        .into_body()
        .collect()
        .await
        .expect("the body is whole")
        .to_bytes();
    String::from_utf8(body.to_vec()).expect("the body is text")
}

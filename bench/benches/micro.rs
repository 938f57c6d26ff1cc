//! Single steps of a task's way: `cargo bench --workspace --bench micro`.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt as _, Empty};
use vyr_api::{App, AppConfig, Listeners};
use vyr_core::artifact::{Algorithm, InstancePolicy, Instances, Manifest, SigningKey};
use vyr_core::digest::Digest;
use vyr_core::id::{ShardNumber, TaskId};
use vyr_core::limits::{HttpLimits, ShardLimits};
use vyr_core::metrics::{Metric, Registry, Unit};
use vyr_shard::artifact::Compiler;
use vyr_shard::rt::{self, ExecutorChoice, ExecutorConfig};
use vyr_shard::{BodyError, Shard, ShardConfig};

const HELLO: &[u8] = include_bytes!("../../workloads/artifacts/hello.wasm");

fn artifacts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("artifact");
    let component = vec![7; 1 << 20];
    group.throughput(Throughput::Bytes(component.len() as u64));
    group.bench_function("digest", |bencher| {
        bencher.iter(|| Digest::of(black_box(&component)))
    });
    group.finish();
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = SigningKey::generate(algorithm).expect("the system has random numbers");
        let document = vec![b'x'; 1024];
        let signature = key.sign(&document);
        let trusted = key.trust_key().expect("a public key");
        criterion.bench_function(&format!("artifact/verify {algorithm:?}"), |bencher| {
            bencher.iter(|| assert!(trusted.verifies(black_box(&document), &signature)));
        });
    }
}

fn metrics(criterion: &mut Criterion) {
    const TIMES: Metric = Metric {
        name: "bench_seconds",
        unit: Unit::Seconds,
        help: "Made for this benchmark.",
    };
    let registry = Registry::new();
    let histogram = registry.histogram(&TIMES, &[]);
    let mut time_ns = 1_u64;
    criterion.bench_function("metrics/histogram record", |bencher| {
        bencher.iter(|| {
            time_ns = time_ns
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1)
                >> 30;
            histogram.record_ns(black_box(time_ns));
        });
    });
}

fn route(criterion: &mut Criterion) {
    let path = "/run/sha256:6a5f30dec515f7006e7cf43e06277db1940d26dc4a0ec8ceec48734fae617efa/a/b";
    for (name, path) in [("name", "/run/hello/a/b"), ("digest", path)] {
        criterion.bench_function(&format!("api/route by {name}"), |bencher| {
            bencher.iter(|| assert!(vyr_api::is_route(&http::Method::GET, black_box(path))));
        });
    }
}

fn admission(criterion: &mut Criterion) {
    on_executor(|run| {
        criterion.bench_function("shard/admission", |bencher| {
            bencher.iter_custom(|rounds| {
                run(Box::pin(async move {
                    let once = vyr_shard::admission_round(&ShardLimits::default());
                    let started = Instant::now();
                    for _ in 0..rounds {
                        once().await;
                    }
                    started.elapsed()
                }))
            });
        });
    });
}

fn open_shard(number: u16, data_dir: PathBuf) -> Rc<Shard> {
    Shard::open(ShardConfig {
        number: ShardNumber(number),
        ..ShardConfig::alone(data_dir, Compiler::InProcess)
    })
    .expect("a shard opens")
}

async fn adopt_hello(shard: &Shard, policy: InstancePolicy) -> Digest {
    let instances = Instances {
        policy,
        ..Instances::default()
    };
    let manifest = Manifest {
        instances,
        ..Manifest::default()
    };
    let adopted = shard.adopt(HELLO.to_vec(), manifest).await;
    adopted.expect("it runs")
}

/// HTTP tasks without HTTP: as a whole, and the two steps of theirs that shards measure themselves.
fn tasks(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (fresh, reuse) = (InstancePolicy::Fresh, InstancePolicy::Reuse);
    let benches = [
        ("task, fresh instance", fresh, None),
        ("instantiate", fresh, Some("vyr_task_instantiate_seconds")),
        ("task, instance used again", reuse, None),
        ("call", reuse, Some("vyr_task_execute_seconds")),
    ];
    on_executor(|run| {
        for (name, policy, step) in benches {
            criterion.bench_function(&format!("shard/{name}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let data_dir = dir.path().to_owned();
                    run(Box::pin(async move {
                        let shard = open_shard(0, data_dir);
                        let hello = adopt_hello(&shard, policy).await;
                        task(&shard, &hello).await;
                        let step_spent = || spent(&shard, step?);
                        let (before, started) = (step_spent(), Instant::now());
                        for _ in 0..rounds {
                            task(&shard, &hello).await;
                        }
                        let elapsed = started.elapsed();
                        match (before, step_spent()) {
                            (Some(before), Some(after)) => after - before,
                            _ => elapsed,
                        }
                    }))
                });
            });
        }
    });
}

/// What its tasks have spent on a step.
fn spent(shard: &Shard, metric: &str) -> Option<Duration> {
    let histogram = shard.metrics().histogram(metric)?;
    Some(Duration::from_nanos(histogram.sum_ns))
}

/// A task's status, asked of its own shard and of another one: the difference is a hop.
fn forward(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let [own, other] = [0, 1].map(|number| serve_shard(number, dir.path()));
    let Some(task) = own.1 else { return };
    let path = format!("/v0/tasks/{task}");
    for (name, address) in [("own shard", own.0), ("another shard", other.0)] {
        let mut stream = TcpStream::connect(address).expect("the shard listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        let mut answer = [0; 4096];
        criterion.bench_function(&format!("api/status asked of {name}"), |bencher| {
            bencher.iter(|| {
                stream.write_all(request.as_bytes()).expect("it reads");
                let count = stream.read(&mut answer).expect("it answers");
                assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
            });
        });
    }
}

/// Serves a shard of a node of two on a thread of its own, until the program ends. Shard 0 has run a task.
fn serve_shard(number: u16, dir: &Path) -> (SocketAddr, Option<TaskId>) {
    let dir = dir.to_owned();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        on_executor(|run| {
            run(Box::pin(async move {
                let shard = open_shard(number, dir.join(number.to_string()));
                let task = if number == 0 {
                    let hello = adopt_hello(&shard, InstancePolicy::Fresh).await;
                    Some(task(&shard, &hello).await)
                } else {
                    None
                };
                let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let listen = || rt::TcpListener::bind(local, rt::ListenOptions::default());
                let sockets = [0, 1].map(|number| dir.join(format!("{number}.sock")));
                let listeners = Listeners {
                    tcp: listen().expect("a free port"),
                    own: listen().expect("a free port"),
                    unix: rt::UnixListener::bind(&sockets[usize::from(number)], 16)
                        .expect("a new socket"),
                };
                let address = listeners.own.local_addr();
                let config = AppConfig {
                    listen: listeners.tcp.local_addr(),
                    own_address: address,
                    sockets: sockets.into(),
                    cpu: None,
                    executor: rt::decide(ExecutorChoice::Auto).expect("epoll always works"),
                    token: None,
                    limits: HttpLimits::default(),
                };
                let app = App::new(shard, config);
                sender.send((address, task)).expect("somebody waits");
                vyr_api::serve(&app, listeners, std::future::pending()).await;
                Duration::ZERO
            }));
        });
    });
    receiver.recv().expect("the shard starts")
}

async fn task(shard: &Rc<Shard>, artifact: &Digest) -> TaskId {
    let body = Empty::<Bytes>::new().map_err(|never| BodyError(never.to_string()));
    let request = http::Request::get("http://bench/")
        .body(body)
        .expect("a request");
    let arrival = shard.arrival(None);
    let (task, response) = shard
        .invoke(artifact, request, arrival)
        .await
        .expect("accepted");
    let body = response.expect("a response").into_body();
    body.collect().await.expect("a whole body");
    task.id()
}

type Timed = std::pin::Pin<Box<dyn Future<Output = Duration>>>;

/// Gives `measure` a way to run a future on an executor of its own.
fn on_executor(measure: impl FnOnce(&dyn Fn(Timed) -> Duration)) {
    let decision = rt::decide(ExecutorChoice::Auto).expect("epoll always works");
    let config = ExecutorConfig {
        kind: decision.kind,
        cpu: None,
        name: "bench".into(),
    };
    measure(&|future| rt::run(&config, || future).expect("the executor runs"));
}

criterion_group!(
    benches, artifacts, metrics, route, admission, tasks, forward
);
criterion_main!(benches);

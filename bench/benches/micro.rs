//! Single steps of a task's way: `cargo bench -p vyr-bench`.
//!
//! One hop between shards is measured where it happens: `vyr bench compare --scenario hop`.

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt as _, Empty};
use vyr_core::artifact::{Algorithm, InstancePolicy, Instances, Manifest, SigningKey, TrustKeys};
use vyr_core::digest::Digest;
use vyr_core::id::{ShardLife, ShardNumber};
use vyr_core::limits::{ShardLimits, TaskLimits};
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

/// A whole HTTP task without HTTP: with a fresh instance it instantiates, with a used one it only
/// calls.
fn tasks(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    on_executor(|run| {
        for policy in [InstancePolicy::Fresh, InstancePolicy::Reuse] {
            criterion.bench_function(&format!("shard/task, instance {policy:?}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let data_dir = dir.path().to_owned();
                    run(Box::pin(async move {
                        let shard = Shard::open(ShardConfig {
                            number: ShardNumber(0),
                            life: ShardLife(0),
                            data_dir,
                            compiler: Compiler::InProcess,
                            trust_keys: TrustKeys::default(),
                            limits: ShardLimits::default(),
                            task_cap: TaskLimits::NODE_CAP,
                            otlp_endpoint: None,
                            telemetry: vyr_shard::telemetry::TelemetryConfig::default(),
                            outgoing_hosts: Vec::new(),
                            outgoing_limits: vyr_core::limits::OutgoingLimits::default(),
                        })
                        .expect("a shard opens");
                        let instances = Instances {
                            policy,
                            ..Instances::default()
                        };
                        let manifest = Manifest {
                            instances,
                            ..Manifest::default()
                        };
                        let hello = shard
                            .adopt(HELLO.to_vec(), manifest)
                            .await
                            .expect("it runs");
                        task(&shard, &hello).await;
                        let started = Instant::now();
                        for _ in 0..rounds {
                            task(&shard, &hello).await;
                        }
                        started.elapsed()
                    }))
                });
            });
        }
    });
}

async fn task(shard: &Rc<Shard>, artifact: &Digest) {
    let body = Empty::<Bytes>::new().map_err(|never| BodyError(never.to_string()));
    let request = http::Request::get("http://bench/")
        .body(body)
        .expect("a request");
    let arrival = shard.arrival(None);
    let (_, response) = shard
        .invoke(artifact, request, arrival)
        .await
        .expect("accepted");
    let body = response.expect("a response").into_body();
    body.collect().await.expect("a whole body");
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

criterion_group!(benches, artifacts, metrics, route, admission, tasks);
criterion_main!(benches);

//! `vyr run`: one shard in this process, one task, no server.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use signal_hook::consts::{SIGINT, SIGTERM};
use vyr_core::artifact::{Manifest, PermittedHost, StateDeclaration};
use vyr_core::limits::{ShardLimits, StateLimits, TaskLimits};
use vyr_core::state::{Binding, Mode};
use vyr_shard::artifact::{Compiler, inspect};
use vyr_shard::rt::{self, ExecutorConfig};
use vyr_shard::{Pipe, PipeEnd, Shard, ShardConfig, Submit, Task};

use super::{read, user_dir};
use crate::arguments::Run;
use crate::failure;

/// Bytes read from standard input at a time.
const INPUT_CHUNK_BYTES: usize = 64 << 10;

pub(crate) fn run(arguments: Run) -> anyhow::Result<ExitCode> {
    let wasm = read(&arguments.file)?;
    let component = inspect(&wasm)
        .with_context(|| arguments.file.display().to_string())?
        .component
        .into_owned();
    let manifest = match &arguments.manifest {
        Some(path) => manifest(&read(path)?).with_context(|| path.display().to_string())?,
        None => Manifest::default(),
    };
    let manifest = Manifest {
        name: manifest.name.clone().or_else(|| name(&arguments)),
        ..manifest
    };
    vyr_shard::cpu::remember_allowed();
    let decision = rt::decide(arguments.executor)?;
    tracing::debug!(executor = %decision.kind, reason = decision.reason, "executor chosen");
    let executor = ExecutorConfig {
        kind: decision.kind,
        cpu: None,
        name: "vyr-run".into(),
    };
    rt::run(&executor, || execute(arguments, component, manifest))?
}

async fn execute(
    arguments: Run,
    component: Vec<u8>,
    manifest: Manifest,
) -> anyhow::Result<ExitCode> {
    let limits = ShardLimits {
        running_max: 1,
        ..ShardLimits::default()
    };
    // Compiled code is kept from run to run.
    let data_dir = user_dir("XDG_CACHE_HOME", ".cache")?.join("run");
    let shard = Shard::open(ShardConfig {
        limits,
        task_cap: TaskLimits {
            wall_ms_max: u64::MAX,
            cpu_ms_max: u64::MAX,
            ..TaskLimits::NODE_CAP
        },
        outgoing_hosts: arguments
            .outgoing_hosts
            .iter()
            .cloned()
            .map(PermittedHost::Pattern)
            .collect(),
        ..ShardConfig::alone(data_dir, Compiler::InProcess)
    })?;
    // What someone runs by hand lasts until it ends, unless they say otherwise.
    let mut manifest = manifest;
    manifest.limits.wall_ms_max.get_or_insert(u64::MAX);
    manifest.limits.cpu_ms_max.get_or_insert(u64::MAX);
    // Whoever runs it names the hosts; a manifest may name some of them.
    if manifest.capabilities.outgoing_hosts.is_empty() {
        manifest.capabilities.outgoing_hosts = arguments
            .outgoing_hosts
            .iter()
            .map(ToString::to_string)
            .collect();
    }
    for name in arguments.states {
        if !manifest.state.iter().any(|state| state.name == name) {
            let mode = Mode::Rw;
            manifest.state.push(StateDeclaration { name, mode });
        }
    }
    // Each state that the guest opens is its own, and ends with the run.
    let mut bindings = Vec::new();
    for StateDeclaration { name, mode } in manifest.state.clone() {
        let state = shard.states().create(StateLimits::NODE_CAP)?.id;
        bindings.push(Binding { state, name, mode });
    }
    let artifact = shard.adopt(component, manifest).await?;
    let input = Pipe::new(limits.stream_buffer_bytes_max);
    let submit = Submit {
        artifact,
        arguments: arguments.arguments,
        environment: arguments.environment,
        bindings,
        config: arguments.config,
        wall_ms_max: arguments.timeout,
        input: Arc::clone(&input),
        stream_output: true,
        arrival: shard.arrival(None),
        idempotency: None,
    };
    let task = shard.submit(submit).await?.task;
    feed(input);
    cancel_on_signal(&task)?;
    if let Some(output) = task.output_stream() {
        print(&output).await?;
    }
    task.ended().await;
    io::stderr().write_all(&task.logs())?;
    Ok(failure::of_task(&task.describe()))
}

fn manifest(bytes: &[u8]) -> anyhow::Result<Manifest> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(Manifest::from_json(bytes)?);
    }
    Ok(Manifest::from_toml(
        std::str::from_utf8(bytes).context("it is not UTF-8")?,
    )?)
}

/// A program knows itself by its file's name.
fn name(arguments: &Run) -> Option<String> {
    Some(arguments.file.file_name()?.to_string_lossy().into_owned())
}

/// Standard input, read on a thread of its own as fast as the guest takes it.
fn feed(input: Arc<Pipe>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; INPUT_CHUNK_BYTES];
        loop {
            let chunk = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return input.end(PipeEnd::Complete),
                Ok(count) => Bytes::copy_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return input.end(PipeEnd::Broken),
            };
            if !futures_lite::future::block_on(input.write(chunk)) {
                return;
            }
        }
    });
}

fn cancel_on_signal(task: &Rc<Task>) -> anyhow::Result<()> {
    let (sender, mut receiver) = rt::mailbox::bounded(1);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .context("cannot watch for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // One is enough.
            let _ = sender.try_send(());
        }
    });
    let task = Rc::clone(task);
    rt::spawn(async move {
        if receiver.recv().await.is_some() {
            task.cancel();
        }
    });
    Ok(())
}

/// Prints the output as it comes. Who reads it may be slow: then the guest waits.
async fn print(output: &Pipe) -> anyhow::Result<()> {
    while let Some(chunk) = poll_fn(|context| output.poll_read(context)).await {
        let printed = rt::unblock(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&chunk).and_then(|()| stdout.flush())
        });
        if let Err(error) = printed.await {
            output.close_reader();
            return Err(error.into());
        }
    }
    Ok(())
}

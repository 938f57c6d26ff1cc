//! One shard as a process of its own: executor, kernel and HTTP side together.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use vyr_api::{App, AppConfig, Listeners, Token, serve};
use vyr_core::artifact::{TrustKey, TrustKeys};
use vyr_core::id::{ShardLife, ShardNumber};
use vyr_shard::artifact::Compiler;
use vyr_shard::rt::{self, Decision, ExecutorChoice, ExecutorConfig};
use vyr_shard::{Shard, ShardConfig};

use super::{DRAIN, READY, ShardStart};

/// Connections the kernel keeps until the shard accepts them.
const BACKLOG: u32 = 1024;
/// What connections get to send their last bytes after the tasks have ended.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How the supervisor ends a shard.
enum Stop {
    /// Running tasks may finish.
    Drain,
    /// The supervisor has died: nobody would restart or stop this shard.
    Orphaned,
}

/// Runs a shard process, described on standard input.
pub(crate) fn shard_process() -> anyhow::Result<ExitCode> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read the shard's description")?;
    let start: ShardStart = serde_json::from_str(&line).context(
        "this is an internal command that 'vyr node' starts; its description is not understood",
    )?;
    vyr_shard::cpu::remember_allowed();
    let choice: ExecutorChoice = start
        .node
        .executor
        .parse()
        .map_err(|error| anyhow!("{error}"))?;
    let decision = rt::decide(choice)?;
    if start.shard == 0 && start.life == 0 {
        tracing::info!(executor = %decision.kind, reason = decision.reason, "executor chosen");
    }
    let config = ExecutorConfig {
        kind: decision.kind,
        cpu: start.cpu,
        name: format!("shard-{}", start.shard),
    };
    rt::run(&config, move || run(start, decision))??;
    Ok(ExitCode::SUCCESS)
}

async fn run(start: ShardStart, decision: Decision) -> anyhow::Result<()> {
    let node = &start.node;
    let (stop_sender, mut stop) = rt::mailbox::bounded(1);
    std::thread::spawn(move || {
        let stop = await_stop();
        // The shard is ending already when nobody takes it.
        let _ = stop_sender.try_send(stop);
    });
    let deadline = Duration::from_millis(node.drain_ms_max);
    let shard = Shard::open(shard_config(&start)?)?;
    let listeners = listen(&start)?;
    let own_address = listeners.own.local_addr();
    let app = App::new(
        Rc::clone(&shard),
        app_config(&start, decision, own_address)?,
    );
    announce()?;

    let (draining, drained) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(&app, listeners, async {
        // An error means that the other branch has ended, which is a stop too.
        let _ = drained.await;
    });
    let stopping = async {
        let how = stop.recv().await.unwrap_or(Stop::Orphaned);
        let deadline = match how {
            Stop::Drain => deadline,
            Stop::Orphaned => {
                tracing::error!("the supervisor has died; the shard stops");
                Duration::ZERO
            }
        };
        shard.refuse_tasks();
        let _ = draining.send(());
        shard.drain(deadline).await;
        rt::sleep(CLOSE_TIME).await;
    };
    let both = async {
        serving.await;
        shard.drain(deadline).await;
    };
    futures_lite::future::or(both, stopping).await;
    Ok(())
}

/// Waits for the supervisor's word on standard input.
fn await_stop() -> Stop {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line == DRAIN {
            return Stop::Drain;
        }
    }
    Stop::Orphaned
}

fn announce() -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{READY}")
        .and_then(|()| stdout.flush())
        .context("the supervisor does not listen")
}

fn shard_config(start: &ShardStart) -> anyhow::Result<ShardConfig> {
    let node = &start.node;
    let mut trust_keys = TrustKeys::default();
    for path in &node.trust_keys {
        let pem = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trust key {}", path.display()))?;
        trust_keys.add(TrustKey::from_pem(&pem)?);
    }
    Ok(ShardConfig {
        number: ShardNumber(start.shard),
        life: ShardLife(start.life),
        data_dir: node.data_dir.clone(),
        compiler: Compiler::Process(super::supervisor::own_program()),
        trust_keys,
        limits: node.shard_limits,
        task_cap: node.task_cap,
        otlp_endpoint: node.otlp_endpoint.clone(),
        telemetry: node.telemetry,
        outgoing_hosts: node
            .outgoing_hosts
            .iter()
            .map(|host| host.parse().map_err(anyhow::Error::msg))
            .collect::<anyhow::Result<_>>()?,
        outgoing_limits: node.outgoing_limits,
    })
}

fn app_config(
    start: &ShardStart,
    executor: Decision,
    own_address: SocketAddr,
) -> anyhow::Result<AppConfig> {
    let node = &start.node;
    let token = match &node.token_file {
        Some(path) => Some(
            Token::from_file(path).with_context(|| format!("the token file {}", path.display()))?,
        ),
        None => None,
    };
    Ok(AppConfig {
        listen: node.listen,
        own_address,
        sockets: (0..node.shards).map(|shard| node.socket(shard)).collect(),
        cpu: start.cpu,
        executor,
        token,
        limits: node.http_limits,
    })
}

fn listen(start: &ShardStart) -> anyhow::Result<Listeners> {
    let path = start.node.socket(start.shard);
    // An earlier life of this shard may have left its socket; the node's lock is held.
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot remove {}", path.display()));
    }
    let unix = rt::UnixListener::bind(&path, BACKLOG)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    let options = rt::ListenOptions {
        backlog: BACKLOG,
        reuse_port: true,
    };
    let tcp = rt::TcpListener::bind(start.node.listen, options)
        .with_context(|| format!("cannot listen on {}", start.node.listen))?;
    // Any free port: '/v0/node' tells which.
    let own = SocketAddr::new(start.node.listen.ip(), 0);
    let own = rt::TcpListener::bind(own, rt::ListenOptions::default())
        .with_context(|| format!("cannot listen on {own}"))?;
    Ok(Listeners { tcp, own, unix })
}

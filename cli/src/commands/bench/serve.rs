//! `vyr bench serve`: servers without Wasm, to tell what an executor costs.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use vyr_shard::rt::{self, ExecutorChoice, ExecutorConfig, ListenOptions, TcpListener};

pub(super) fn run(executor: &str, listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let cannot_listen = || format!("cannot listen on {listen}");
    if executor == "tokio" {
        vyr_bench::plain::serve_on_tokio(listen).with_context(cannot_listen)?;
        return Ok(ExitCode::SUCCESS);
    }
    let choice: ExecutorChoice = executor.parse().map_err(|error| anyhow!("{error}"))?;
    let config = ExecutorConfig {
        kind: rt::decide(choice)?.kind,
        cpu: None,
        name: "plain".into(),
    };
    rt::run(&config, async || {
        let listener =
            TcpListener::bind(listen, ListenOptions::default()).with_context(cannot_listen)?;
        vyr_api::serve_plain(listener, vyr_bench::plain::ANSWER).await;
        Ok(ExitCode::SUCCESS)
    })?
}

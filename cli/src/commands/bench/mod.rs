//! `vyr bench`: loads servers and measures them.

mod compare;
mod engine;
mod load;
mod serve;

use std::process::ExitCode;

use anyhow::Context;
use vyr_bench::Url;

use crate::arguments::{Bench, BenchRequest};

pub(crate) fn run(command: Bench) -> anyhow::Result<ExitCode> {
    match command {
        Bench::Load(load) => load::run(&load),
        Bench::Sweep(sweep) => load::sweep(&sweep),
        Bench::Compare(compare) => compare::run(compare),
        Bench::Engine(engine) => engine::run(&engine),
        Bench::Report { dir } => compare::report(&dir),
        Bench::Serve { executor, listen } => serve::run(&executor, listen),
        Bench::EngineShard(shard) => engine::shard(&shard),
    }
}

/// The bytes of one request.
fn request(url: &Url, request: &BenchRequest) -> anyhow::Result<Vec<u8>> {
    let body = match &request.body {
        Some(path) => super::read(path)?,
        None => Vec::new(),
    };
    let default = if request.body.is_some() {
        "POST"
    } else {
        "GET"
    };
    let method = request.method.as_deref().unwrap_or(default);
    let length = if request.body.is_some() {
        format!("content-length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let head = format!(
        "{method} {} HTTP/1.1\r\nhost: {}\r\n{}{length}\r\n",
        url.path,
        url.host,
        request.headers.concat()
    );
    Ok([head.into_bytes(), body].concat())
}

fn pin(cpu: Option<usize>) -> anyhow::Result<()> {
    if let Some(cpu) = cpu {
        vyr_bench::pin::bind(&[cpu]).with_context(|| {
            format!("cannot use processor {cpu}; give one that this process may use")
        })?;
    }
    Ok(())
}

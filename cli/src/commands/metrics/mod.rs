//! `vyr metrics`.

mod hdr_log;
pub(crate) mod interval;
mod table;

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use vyr_client::{MetricEvent, MetricStream, ShardMetrics};
use vyr_core::id::ShardNumber;

use self::hdr_log::HdrLog;
use self::interval::Interval;
use super::{block_on, client, until_interrupted};
use crate::arguments::{Connection, Format, Metrics as Command, StreamMetrics};

pub(crate) fn run(command: Command, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    let Command::Stream(arguments) = command;
    let StreamMetrics {
        shard,
        interval,
        hdr,
        output,
    } = arguments;
    block_on(until_interrupted(async move {
        let interval = Duration::from_millis(interval);
        let mut stream = client.metrics(interval, shard.map(ShardNumber)).await?;
        match (hdr, output) {
            (true, _) => write_hdr_log(&mut stream).await,
            (false, Format::Json) => write_json(&mut stream).await,
            (false, Format::Table) => write_table(&mut stream).await,
        }
    }))
}

async fn write_json(stream: &mut MetricStream) -> anyhow::Result<ExitCode> {
    loop {
        match stream.next().await? {
            MetricEvent::Shard(metrics) => writeln!(io::stdout(), "{}", metrics.json)?,
            MetricEvent::Missing(missing) => warn_of_missing(missing.value.shard),
        }
    }
}

async fn write_table(stream: &mut MetricStream) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "{}", table::headings())?;
    let mut last = Last::default();
    loop {
        if let Some(interval) = last.next(stream).await? {
            writeln!(io::stdout(), "{}", table::line(&interval))?;
        }
    }
}

async fn write_hdr_log(stream: &mut MetricStream) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = HdrLog::begin(&mut stdout, &mut serializer, SystemTime::now())?;
    let mut last = Last::default();
    loop {
        if let Some(interval) = last.next(stream).await? {
            log.write(&interval)?;
        }
    }
}

/// The last metrics of each shard.
#[derive(Default)]
struct Last(HashMap<ShardNumber, ShardMetrics>);

impl Last {
    /// The next interval; `None` when something else came, such as a shard's first metrics.
    async fn next(&mut self, stream: &mut MetricStream) -> anyhow::Result<Option<Interval>> {
        match stream.next().await? {
            MetricEvent::Shard(metrics) => {
                let metrics = metrics.value;
                let last = self.0.get(&metrics.shard);
                let interval = last.map(|last| Interval::between(last, &metrics));
                self.0.insert(metrics.shard, metrics);
                Ok(interval)
            }
            MetricEvent::Missing(missing) => {
                warn_of_missing(missing.value.shard);
                Ok(None)
            }
        }
    }
}

fn warn_of_missing(shard: ShardNumber) {
    eprintln!("warning: shard {shard} did not answer");
}

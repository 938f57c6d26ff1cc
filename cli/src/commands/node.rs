//! From the command line and the configuration file to a complete node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use vyr_core::artifact::PermittedHost;
use vyr_core::id::SHARDS_MAX;
use vyr_core::limits::{HttpLimits, OutgoingLimits, ShardLimits, TaskLimits};
use vyr_shard::telemetry::{Protocol, TelemetryConfig};

use super::{read_text, user_dir};
use crate::arguments::Node;
use crate::failure::Usage;
use crate::node::NodeConfig;

const PORT: u16 = 7411;
const DRAIN_MS: u64 = 10_000;

/// The configuration file; every setting may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    shards: Option<Shards>,
    data_dir: Option<PathBuf>,
    trust_keys: Vec<PathBuf>,
    token_file: Option<PathBuf>,
    otlp_endpoint: Option<String>,
    telemetry: TelemetryConfig,
    outgoing_hosts: Vec<String>,
    executor: Option<String>,
    drain_ms_max: Option<u64>,
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    /// The most a task is granted.
    task: Option<TaskLimits>,
    shard: ShardLimits,
    outgoing: OutgoingLimits,
    http: HttpLimits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Shards {
    Number(u16),
    Text(String),
}

/// The node that the arguments and their configuration file describe; the arguments win.
pub(crate) fn resolve(arguments: Node) -> anyhow::Result<NodeConfig> {
    let file = match &arguments.config {
        Some(path) => read_file(path)?,
        None => File::default(),
    };
    let data_dir = match arguments.data_dir.or(file.data_dir) {
        Some(dir) => dir,
        None => user_dir("XDG_DATA_HOME", ".local/share")?,
    };
    let trust_keys = if arguments.trust_key.is_empty() {
        file.trust_keys
    } else {
        arguments.trust_key
    };
    let executor = match (arguments.executor, file.executor) {
        (Some(choice), _) => choice.to_string(),
        (None, text) => text.unwrap_or_else(|| "auto".into()),
    };
    Ok(NodeConfig {
        listen: arguments
            .listen
            .or(file.listen)
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
        shards: shards(arguments.shards.map(Shards::Text).or(file.shards))?,
        data_dir,
        trust_keys,
        token_file: arguments.token_file.or(file.token_file),
        otlp_endpoint: arguments
            .otlp_endpoint
            .or(file.otlp_endpoint)
            .or_else(endpoint_of_environment),
        telemetry: telemetry(arguments.otlp_protocol, file.telemetry)?,
        outgoing_hosts: outgoing_hosts(arguments.outgoing_hosts, file.outgoing_hosts)?,
        executor,
        drain_ms_max: arguments.drain.or(file.drain_ms_max).unwrap_or(DRAIN_MS),
        task_cap: file.limits.task.unwrap_or(TaskLimits::NODE_CAP),
        shard_limits: file.limits.shard,
        outgoing_limits: file.limits.outgoing,
        http_limits: file.limits.http,
    })
}

/// OpenTelemetry's variable is often set for a whole machine, so that what is said of the node itself wins.
fn endpoint_of_environment() -> Option<String> {
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok()?;
    Some(endpoint).filter(|endpoint| !endpoint.is_empty())
}

fn telemetry(
    protocol: Option<Protocol>,
    mut telemetry: TelemetryConfig,
) -> anyhow::Result<TelemetryConfig> {
    let ratio = telemetry.sample_ratio;
    anyhow::ensure!(
        (0.0..=1.0).contains(&ratio),
        "telemetry.sample_ratio is {ratio}; give a share from 0 to 1"
    );
    telemetry.otlp_protocol = protocol.unwrap_or(telemetry.otlp_protocol);
    Ok(telemetry)
}

/// The command line's, or else the file's, each checked here so that the error comes at the start.
fn outgoing_hosts(arguments: Vec<PermittedHost>, file: Vec<String>) -> anyhow::Result<Vec<String>> {
    if !arguments.is_empty() {
        return Ok(arguments.iter().map(PermittedHost::to_string).collect());
    }
    for text in &file {
        text.parse::<PermittedHost>()
            .map_err(|error| anyhow::anyhow!("outgoing_hosts: {error}"))?;
    }
    Ok(file)
}

/// Paths in the file are relative to the file.
fn read_file(path: &Path) -> anyhow::Result<File> {
    let explain = || format!("the configuration file {}", path.display());
    let mut file: File = toml::from_str(&read_text(path)?)
        .map_err(|error| anyhow::anyhow!(error.to_string().trim().to_owned()))
        .with_context(explain)?;
    let base = path.parent().unwrap_or(Path::new("."));
    let paths = file
        .data_dir
        .iter_mut()
        .chain(&mut file.token_file)
        .chain(&mut file.trust_keys);
    for path in paths {
        *path = base.join(&*path);
    }
    Ok(file)
}

fn shards(wanted: Option<Shards>) -> anyhow::Result<u16> {
    let number = match wanted {
        None => None,
        Some(Shards::Number(number)) => Some(number),
        Some(Shards::Text(text)) if text == "auto" => None,
        Some(Shards::Text(text)) => {
            let number = text.parse();
            Some(
                number
                    .map_err(|_| Usage(format!("--shards is '{text}'; give auto or a number")))?,
            )
        }
    };
    match number {
        Some(number) if (1..=SHARDS_MAX).contains(&number) => Ok(number),
        Some(number) => Err(Usage(format!("--shards is {number}; give 1 to {SHARDS_MAX}")).into()),
        None => Ok(u16::try_from(vyr_shard::cpu::allowed().len())
            .unwrap_or(SHARDS_MAX)
            .clamp(1, SHARDS_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_every_default() {
        let text = include_str!("../../../docs/vyr.example.toml");
        let file: File = toml::from_str(text).expect("the example is valid");
        assert_eq!(file.limits.task, Some(TaskLimits::NODE_CAP));
        assert_eq!(file.limits.shard, ShardLimits::default());
        assert_eq!(file.limits.outgoing, OutgoingLimits::default());
        assert_eq!(file.limits.http, HttpLimits::default());
        assert_eq!(file.telemetry, TelemetryConfig::default());
        assert!(file.outgoing_hosts.is_empty() && text.contains("\noutgoing_hosts = ["));
        assert_eq!(file.drain_ms_max, Some(DRAIN_MS));
    }
}

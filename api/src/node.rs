//! What the node says of itself: health, metrics, shards, the API's description.

use std::net::SocketAddr;

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use serde::{Deserialize, Serialize};
use vyr_core::id::{ShardLife, ShardNumber};
use vyr_core::metrics::{Exposition, Snapshot};
use vyr_core::problem::Code;

use crate::app::App;
use crate::body::ResponseBody;
use crate::failure::{Failure, json, with_type};
use crate::route::Internal;

/// One shard as `/v0/node` shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardDescription {
    shard: ShardNumber,
    /// Its own address: a connection to it is to this shard.
    address: SocketAddr,
    pid: u32,
    /// How often its process was restarted.
    life: ShardLife,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cpu: Option<usize>,
    executor: String,
    executor_reason: String,
    uptime_ms: u64,
    running: usize,
    queued: usize,
    draining: bool,
}

#[derive(Debug, Serialize)]
struct NodeDescription {
    version: &'static str,
    listen: SocketAddr,
    shards_configured: usize,
    shards: Vec<ShardDescription>,
}

pub(crate) fn health() -> Response<ResponseBody> {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

pub(crate) fn ready(app: &App) -> Result<Response<ResponseBody>, Failure> {
    if app.shard.is_draining() {
        return Err(Failure::new(Code::Overloaded, "the node is stopping"));
    }
    let mut text = "ready\n".to_owned();
    if let Some((records, events)) = app.shard.exported() {
        text.push_str(&format!(
            "shard {}: {} trace records exported, {} dropped because the exporter was too slow, {} because the collector \
             was; of guests' own, {} spans and {} log records dropped\n",
            app.shard.number(),
            records.exported,
            records.dropped_ring,
            records.dropped_export,
            events.spans_dropped,
            events.logs_dropped,
        ));
    }
    Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", text))
}

pub(crate) fn describe(app: &App) -> ShardDescription {
    ShardDescription {
        shard: app.shard.number(),
        address: app.own_address,
        pid: std::process::id(),
        life: app.shard.life(),
        cpu: app.cpu,
        executor: app.executor.kind.to_string(),
        executor_reason: app.executor.reason.clone(),
        uptime_ms: u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        running: app.shard.running(),
        queued: app.shard.queued(),
        draining: app.shard.is_draining(),
    }
}

pub(crate) async fn node(app: &App) -> Response<ResponseBody> {
    let mut shards = vec![describe(app)];
    for (shard, part) in app.peers.gather(Internal::Shard, "").await {
        match serde_json::from_slice(&part) {
            Ok(description) => shards.push(description),
            Err(error) => tracing::warn!(%shard, %error, "a shard's description is not understood"),
        }
    }
    shards.sort_unstable_by_key(|shard| shard.shard);
    let node = NodeDescription {
        version: env!("CARGO_PKG_VERSION"),
        listen: app.listen,
        shards_configured: app.peers.count(),
        shards,
    };
    json(StatusCode::OK, &node)
}

/// The metrics of all shards, in the form that the client wants.
pub(crate) async fn metrics(app: &App, headers: &HeaderMap) -> Response<ResponseBody> {
    let mut snapshots: Vec<(ShardNumber, Snapshot)> =
        vec![(app.shard.number(), app.shard.metrics())];
    for (shard, part) in app.peers.gather(Internal::Metrics, "").await {
        match serde_json::from_slice(&part) {
            Ok(snapshot) => snapshots.push((shard, snapshot)),
            Err(error) => tracing::warn!(%shard, %error, "a shard's metrics are not understood"),
        }
    }
    snapshots.sort_by_key(|(shard, _)| *shard);
    let accept: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let form = Exposition::accepted(&accept.join(","));
    with_type(StatusCode::OK, form.media_type(), form.render(&snapshots))
}

pub(crate) fn openapi() -> Response<ResponseBody> {
    with_type(StatusCode::OK, "application/json", crate::OPENAPI)
}

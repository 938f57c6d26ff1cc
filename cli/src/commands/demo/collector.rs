//! The second act: sensor readings are collected while the uplink is down, and delivered when it is back.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use vyr_client::{Client, NewArtifact, NewState, Submit, body_of_stream};
use vyr_core::artifact::SigningKey;
use vyr_core::state::{Binding, Mode};
use vyr_core::task::Status;

use super::put;
use crate::sink::{self, Faults, Journal};

const WASM: &[u8] = include_bytes!("../../../../workloads/artifacts/disconnected-collector.wasm");
/// Real readings of three stations.
const READINGS: &[u8] = include_bytes!("../../../../workloads/data/weather-sample.ndjson");

const NAME: &str = "disconnected-collector";
const LINGER_MS: u64 = 60_000;
const OUTAGE: Duration = Duration::from_secs(1);
/// What is sent to the collector at a time.
const CHUNK_BYTES: usize = 8 << 10;
const CHUNK_PAUSE: Duration = Duration::from_millis(10);

/// The other end of the uplink, on a thread of its own.
pub(super) struct Uplink {
    address: SocketAddr,
    end: Option<(watch::Sender<bool>, JoinHandle<anyhow::Result<Journal>>)>,
}

impl Uplink {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let mut uplink = Self { address, end: None };
        uplink.serve(listener, Journal::default());
        Ok(uplink)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn serve(&mut self, listener: TcpListener, journal: Journal) {
        let (stop, stopped) = watch::channel(false);
        let serve = move || sink::serve(listener, journal, Faults::default(), stopped);
        self.end = Some((stop, std::thread::spawn(serve)));
    }

    /// Nobody listens any more, and connections are broken off.
    fn down(&mut self) -> anyhow::Result<Journal> {
        let (stop, thread) = self.end.take().context("the uplink is down already")?;
        // An error means that it has ended by itself, which its result tells.
        let _ = stop.send(true);
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the sink panicked"))?
    }

    fn up(&mut self, journal: Journal) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).context("cannot listen again")?;
        self.serve(listener, journal);
        Ok(())
    }
}

pub(super) async fn show(
    client: &Client,
    key: &SigningKey,
    uplink: &mut Uplink,
) -> anyhow::Result<()> {
    let address = uplink.address();
    let manifest =
        format!("[[state]]\nname = \"buffer\"\n[capabilities]\noutgoing_hosts = [\"{address}\"]\n");
    let artifact = NewArtifact {
        wasm: WASM.into(),
        name: Some(NAME.into()),
        manifest: Some(manifest.into_bytes()),
        ..NewArtifact::default()
    };
    let digest = put(client, key, artifact).await?;
    println!("\nartifact  {NAME}  {digest}");
    let state = NewState {
        linger_ms: Some(LINGER_MS),
        ..NewState::default()
    };
    let state = client.create_state(&state).await?.id;
    let held = async || {
        anyhow::Ok(
            client
                .state(&state.to_string())
                .await?
                .keys
                .saturating_sub(1),
        )
    };
    println!("state     {state}");
    let readings = READINGS.iter().filter(|&&byte| byte == b'\n').count();
    eprintln!("· stream {readings} real sensor readings into one task, bound to the state");
    let (sender, receiver) = mpsc::channel(1);
    let submit = Submit {
        artifact: NAME.into(),
        arguments: ["--retry-ms-max", "200", "--upstream"]
            .map(String::from)
            .into_iter()
            .chain([format!("http://{address}/readings")])
            .collect(),
        bindings: vec![Binding {
            state,
            name: "buffer".into(),
            mode: Mode::Rw,
        }],
        ..Submit::default()
    };
    let mut output = client
        .submit_streaming(&submit, body_of_stream(receiver))
        .await?;
    let mut chunks = READINGS.chunks(CHUNK_BYTES);
    let third = chunks.len() / 3;
    let feed = async |chunks: &mut dyn Iterator<Item = &'static [u8]>| {
        for chunk in chunks {
            // A task that ended early says so itself.
            let _ = sender.send(Ok(Bytes::from_static(chunk))).await;
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
    };
    feed(&mut chunks.by_ref().take(third)).await;
    let journal = uplink.down()?;
    let before = journal.readings.len();
    eprintln!("· the uplink is down; {before} readings have arrived");
    feed(&mut chunks).await;
    drop(sender);
    tokio::time::sleep(OUTAGE).await;
    let kept = held().await?;
    uplink.up(journal)?;
    eprintln!("· the uplink is back; the state holds {kept} keys");
    let mut summary = Vec::new();
    while let Ok(Some(chunk)) = output.next().await {
        summary.extend_from_slice(&chunk);
    }
    let task = client.task(&output.task.to_string(), Some("10s")).await?;
    ensure!(
        task.status == Status::Succeeded,
        "the collector ended as {}: {:?}",
        task.status,
        task.error
    );
    let journal = uplink.down()?;
    let summary: Value =
        serde_json::from_slice(&summary).context("the collector's summary is no JSON")?;
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    println!(
        "{} readings received, {} held at most over an outage of {:.1} s, {} delivered in {} batches with {} retries",
        number("received"),
        number("held_max"),
        number("longest_outage_ms") as f64 / 1000.0,
        number("delivered"),
        number("batches"),
        number("retries"),
    );
    let sent = std::str::from_utf8(READINGS).context("the readings are text")?;
    ensure!(
        by_station(sent.lines()) == by_station(journal.readings.iter().map(String::as_str)),
        "what arrived is not what was sent, once and in order"
    );
    println!("each arrived exactly once, in the order of its station");
    client.delete_state(&state.to_string()).await?;
    Ok(())
}

/// The readings of each station, in their order.
fn by_station<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> std::collections::BTreeMap<String, Vec<&'a str>> {
    let mut stations = std::collections::BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        let reading: Value = serde_json::from_str(line).unwrap_or_default();
        let station = reading["origin"].as_str().unwrap_or_default().to_owned();
        stations.entry(station).or_default().push(line);
    }
    stations
}

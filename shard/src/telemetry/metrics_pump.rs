//! Sends a shard's metrics beside its traces, so that neither waits for the other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::Notify;
use vyr_core::metrics::Snapshot;

use super::export_state::ExportState;
use super::metrics_message::{Period, metrics_message};
use super::pump::{Sender, Stop, deadline, is_stopping};
use super::transport::Signal;
use crate::clock;

/// The last metrics that the shard has offered, until they are sent.
#[derive(Clone, Default)]
pub(super) struct MetricsSlot(Arc<Slot>);

#[derive(Default)]
struct Slot {
    snapshot: Mutex<Option<Snapshot>>,
    filled: Notify,
}

impl MetricsSlot {
    pub(super) fn put(&self, snapshot: Snapshot) {
        let slot = self.0.snapshot.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        self.0.filled.notify_one();
    }

    fn take(&self) -> Option<Snapshot> {
        let slot = self.0.snapshot.lock();
        slot.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for MetricsSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MetricsSlot").finish()
    }
}

/// Moves metrics from the slot to the collector.
pub(super) struct MetricsPump {
    endpoint: String,
    slot: MetricsSlot,
    state: ExportState,
}

impl MetricsPump {
    pub(super) fn new(endpoint: String, slot: MetricsSlot) -> Self {
        Self {
            endpoint,
            slot,
            state: ExportState::new("metrics"),
        }
    }

    /// Runs until the shard says stop and the last metrics are sent, or its deadline has passed, or its
    /// handle is gone.
    pub(super) async fn run(mut self, sender: &Sender, mut stop: Stop) {
        loop {
            let stopping = is_stopping(&stop);
            if let Some(snapshot) = self.slot.take() {
                self.send(sender, &snapshot, &mut stop).await;
            } else if stopping {
                return;
            } else {
                tokio::select! {
                    () = self.slot.0.filled.notified() => {}
                    _ = stop.changed() => {}
                }
            }
        }
    }

    /// Tries once. What fails is not kept: the next metrics have all that was counted.
    async fn send(&mut self, sender: &Sender, snapshot: &Snapshot, stop: &mut Stop) {
        let request = request(sender, snapshot);
        let sending = sender.transport.send_once(Signal::Metrics, request);
        let verdict = tokio::select! {
            verdict = sending => verdict,
            () = deadline(stop) => return,
        };
        if verdict.accepted {
            self.state.accepted(&self.endpoint);
        } else {
            self.state.refused(&self.endpoint, &verdict.why, None);
        }
    }
}

fn request(sender: &Sender, snapshot: &Snapshot) -> Bytes {
    let period = Period {
        start_unix_ns: sender.start_unix_ns,
        end_unix_ns: clock::unix_ns(),
    };
    let message = metrics_message(snapshot, &sender.resource, period);
    message.encode_to_vec().into()
}

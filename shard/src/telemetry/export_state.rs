//! Whether the collector takes what it is sent, as the node's log tells it.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two warnings.
const WARNING_PAUSE: Duration = Duration::from_secs(30);

/// How exporting one kind of telemetry goes: the first failure is logged, then one line in a while, and the
/// recovery.
pub(super) struct ExportState {
    /// What is exported, for the log.
    what: &'static str,
    warned: Option<Instant>,
    /// Whether the last request was not accepted.
    failing: bool,
}

impl ExportState {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            warned: None,
            failing: false,
        }
    }

    pub(super) fn accepted(&mut self, endpoint: &str) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(endpoint, "{} are exported again", self.what);
        }
    }

    pub(super) fn refused(&mut self, endpoint: &str, why: &str, dropped_so_far: Option<u64>) {
        self.failing = true;
        let due = |warned: Instant| warned.elapsed() >= WARNING_PAUSE;
        if self.warned.is_none_or(due) {
            self.warned = Some(Instant::now());
            let what = self.what;
            tracing::warn!(
                endpoint,
                why,
                dropped_so_far,
                "{what} are not exported; tasks go on"
            );
        }
    }
}

//! Where an instance logs to: the log that is kept with the task it serves, and the collector if the node
//! is told so.

use std::sync::{Arc, Mutex, MutexGuard};

use super::lock;
use super::stdio::Kept;
use super::telemetry::Export;
use crate::steps::Subject;

/// The log of the task that an instance serves.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Target>>);

struct Target {
    kept: Arc<Kept>,
    /// `None` when there is no collector.
    export: Option<Export>,
}

impl Log {
    /// One that is kept and goes nowhere else.
    pub(crate) fn new(kept: Arc<Kept>) -> Self {
        Self::exporting(kept, None)
    }

    pub(super) fn exporting(kept: Arc<Kept>, export: Option<Export>) -> Self {
        Self(Arc::new(Mutex::new(Target { kept, export })))
    }

    /// The log of the task that is served now, also when the instance serves another later; for the host's
    /// own lines.
    pub(crate) fn of_this_task(&self) -> Self {
        Self::new(Arc::clone(&self.lock().kept))
    }

    pub(super) fn attach(&self, kept: Arc<Kept>, subject: Subject) {
        let mut target = self.lock();
        target.kept = kept;
        if let Some(export) = &mut target.export {
            export.attach(subject);
        }
    }

    /// The task is over, while the instance waits for the next one.
    pub(super) fn end(&self) {
        if let Some(export) = &mut self.lock().export {
            export.end_line();
        }
    }

    /// Writes a line of the host's own.
    pub(crate) fn line(&self, text: &str) {
        self.lock().kept.append(format!("vyr: {text}\n").as_bytes());
    }

    /// Takes what the guest wrote to a standard stream.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut target = self.lock();
        target.kept.append(bytes);
        if let Some(export) = &mut target.export {
            export.written(bytes);
        }
    }

    /// Takes a line that the guest logged by an interface; `None` for what only the collector gets. `export` may
    /// send the same to the collector.
    pub(super) fn told(&self, line: Option<&str>, export: impl FnOnce(&mut Export)) {
        let mut target = self.lock();
        if let Some(line) = line {
            target.kept.append_line(line);
        }
        if let Some(to) = &mut target.export {
            export(to);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        lock(&self.0)
    }
}

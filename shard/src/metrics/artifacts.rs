//! Counts for each artifact: who the hog is.
//!
//! The first artifacts that a shard runs get labels of their own; all later ones share one, so that a
//! node with thousands of artifacts does not have thousands of series.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use vyr_core::digest::Digest;
use vyr_core::limits::ARTIFACT_LABELS_MAX;
use vyr_core::metrics::{Counter, Metric, Registry, TimeCounter, Unit};
use vyr_core::task::Status;

use crate::task::Task;

const TASKS: Metric = Metric {
    name: "vyr_artifact_tasks",
    unit: Unit::Count,
    help: "Tasks that ended, by artifact and terminal status.",
};
const EXECUTE: Metric = Metric {
    name: "vyr_artifact_execute_seconds",
    unit: Unit::Seconds,
    help: "Time from the first to the last instruction of an artifact's guests, waiting included.",
};
const CPU: Metric = Metric {
    name: "vyr_artifact_cpu_seconds",
    unit: Unit::Seconds,
    help: "Time an artifact's guests held the core, those that still run included.",
};

/// The label of all artifacts that have none of their own.
const OTHER: &str = "other";
/// Hexadecimal digits of the digest in a label.
const LABEL_DIGITS: usize = 12;

pub(super) struct PerArtifact {
    registry: Registry,
    counts: RefCell<HashMap<Digest, Rc<Counts>>>,
    other: Rc<Counts>,
}

struct Counts {
    label: String,
    ended: Vec<(Status, Counter)>,
    execute: TimeCounter,
    cpu: TimeCounter,
}

impl PerArtifact {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            other: Rc::new(Counts::new(&registry, OTHER.to_owned())),
            registry,
            counts: RefCell::default(),
        }
    }

    pub(super) fn executed(&self, task: &Task, time_ns: u64) {
        let counts = self.of(task.artifact);
        counts.execute.add_ns(time_ns);
        self.computed(task);
    }

    /// Counts the time for which a task's guest has held the core since this was called last.
    pub(super) fn computed(&self, task: &Task) {
        let cpu_ns = task.control.cpu_ns();
        let counted_ns = task.cpu_counted_ns.replace(cpu_ns);
        self.of(task.artifact)
            .cpu
            .add_ns(cpu_ns.saturating_sub(counted_ns));
    }

    pub(super) fn ended(&self, task: &Task, status: Status) {
        let counts = self.of(task.artifact);
        let mut ended = counts.ended.iter();
        if let Some((_, counter)) = ended.find(|(counted, _)| *counted == status) {
            counter.inc();
        }
    }

    fn of(&self, artifact: Digest) -> Rc<Counts> {
        let mut counts = self.counts.borrow_mut();
        if let Some(known) = counts.get(&artifact) {
            return Rc::clone(known);
        }
        if counts.len() >= ARTIFACT_LABELS_MAX {
            return Rc::clone(&self.other);
        }
        let label = label(artifact);
        // Digests that begin alike share a label.
        let alike = counts.values().find(|known| known.label == label);
        let new = match alike {
            Some(alike) => Rc::clone(alike),
            None => Rc::new(Counts::new(&self.registry, label)),
        };
        counts.insert(artifact, Rc::clone(&new));
        new
    }
}

impl Counts {
    fn new(registry: &Registry, label: String) -> Self {
        let artifact = ("artifact", label.as_str());
        let terminal = Status::ALL
            .into_iter()
            .filter(|status| status.is_terminal());
        Self {
            ended: terminal
                .map(|status| {
                    let labels = [artifact, ("status", status.as_str())];
                    (status, registry.counter(&TASKS, &labels))
                })
                .collect(),
            execute: registry.time_counter(&EXECUTE, &[artifact]),
            cpu: registry.time_counter(&CPU, &[artifact]),
            label,
        }
    }
}

fn label(artifact: Digest) -> String {
    let mut text = artifact.to_string();
    text.truncate("sha256:".len() + LABEL_DIGITS);
    text
}

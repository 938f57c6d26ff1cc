//! Counts for each artifact: who the hog is.
//!
//! The first artifacts that a shard runs get labels of their own; all later ones share one, so that a
//! node with thousands of artifacts does not have thousands of series. Those that are gone make room, but not
//! before another one needs it: until then a scraper sees their last counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use vyr_core::digest::{Digest, DigestMap};
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

const LABEL: &str = "artifact";
/// The label of all artifacts that have none of their own.
const OTHER: &str = "other";
/// Hexadecimal digits of the digest in a label.
const LABEL_DIGITS: usize = 12;

pub(super) struct PerArtifact {
    registry: Registry,
    counts: RefCell<DigestMap<Rc<Counts>>>,
    other: Rc<Counts>,
    /// Whether an artifact has found no label since [`PerArtifact::forget`].
    is_short: Cell<bool>,
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
            is_short: Cell::new(false),
        }
    }

    pub(super) fn executed(&self, task: &Task, time_ns: u64) {
        let counts = self.of(task.artifact);
        counts.execute.add_ns(time_ns);
        counts.computed(task);
    }

    /// Counts the time for which a task's guest has held the core since this was called last.
    pub(super) fn computed(&self, task: &Task) {
        self.of(task.artifact).computed(task);
    }

    pub(super) fn ended(&self, task: &Task, status: Status) {
        let counts = self.of(task.artifact);
        let mut ended = counts.ended.iter();
        if let Some((_, counter)) = ended.find(|(counted, _)| *counted == status) {
            counter.inc();
        }
    }

    /// If labels are short, takes theirs from those that are gone.
    pub(super) fn forget(&self, mut is_gone: impl FnMut(&Digest) -> bool) {
        if !self.is_short.take() {
            return;
        }
        let mut counts = self.counts.borrow_mut();
        let gone: Vec<_> = counts.extract_if(|digest, _| is_gone(digest)).collect();
        for (_, gone) in gone {
            if counts.values().all(|kept| kept.label != gone.label) {
                self.registry.remove((LABEL, &gone.label));
            }
        }
    }

    fn of(&self, artifact: Digest) -> Rc<Counts> {
        let mut counts = self.counts.borrow_mut();
        if let Some(known) = counts.get(&artifact) {
            return Rc::clone(known);
        }
        if counts.len() >= ARTIFACT_LABELS_MAX {
            self.is_short.set(true);
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
        let artifact = (LABEL, label.as_str());
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

    fn computed(&self, task: &Task) {
        let cpu_ns = task.control.cpu_ns();
        let counted_ns = task.cpu_counted_ns.replace(cpu_ns);
        self.cpu.add_ns(cpu_ns.saturating_sub(counted_ns));
    }
}

fn label(artifact: Digest) -> String {
    let mut text = artifact.to_string();
    text.truncate("sha256:".len() + LABEL_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_that_are_gone_make_room_when_it_is_needed() {
        let registry = Registry::new();
        let artifacts = PerArtifact::new(registry.clone());
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        let has = |number: usize| {
            let label = label(digest(number));
            registry
                .snapshot()
                .get(EXECUTE.name, &[(LABEL, &label)])
                .is_some()
        };
        for number in 0..ARTIFACT_LABELS_MAX {
            artifacts.of(digest(number));
        }
        artifacts.forget(|_| true);
        assert!(has(0), "nobody needs its place");
        assert_eq!(artifacts.of(digest(100)).label, OTHER);
        artifacts.forget(|gone| *gone == digest(0));
        assert!(!has(0) && has(1));
        assert_eq!(artifacts.of(digest(100)).label, label(digest(100)));
        assert!(has(100));
        assert_eq!(artifacts.of(digest(0)).label, OTHER);
    }
}

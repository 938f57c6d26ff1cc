//! The list of tasks: which ones, in which order, and the chosen one.

use std::rc::Rc;

use vyr_core::id::TaskId;
use vyr_core::task::Task;

use super::model::{Model, artifact_of};
use super::recent::RecentTask;

/// A task of the list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    Ended(Rc<RecentTask>),
    Running(Box<Task>),
}

/// Which tasks are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tab {
    /// Those that ended a short while ago.
    #[default]
    Ended,
    /// Those that run now.
    Running,
}

/// What stands first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Slowest,
    Newest,
    Artifact,
}

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    pub(crate) tab: Tab,
    pub(crate) sort: Sort,
    /// Part of a task's id, artifact, status or error.
    pub(crate) filter: String,
    /// Where the mark is when its task is not listed any more.
    index: usize,
    /// The task with the mark; none while it stays at the top.
    task: Option<TaskId>,
}

impl Row {
    pub(crate) fn id(&self) -> TaskId {
        match self {
            Self::Ended(task) => task.id,
            Self::Running(task) => task.id,
        }
    }

    /// The first digits of its artifact's digest.
    pub(crate) fn artifact(&self) -> String {
        match self {
            Self::Ended(task) => task.artifact.clone(),
            Self::Running(task) => artifact_of(task),
        }
    }

    pub(crate) fn status(&self) -> &str {
        match self {
            Self::Ended(task) => &task.status,
            Self::Running(task) => task.status.as_str(),
        }
    }

    /// How long it took, or runs until now, nanoseconds.
    pub(crate) fn duration_ns(&self, now_unix_ns: u64) -> u64 {
        match self {
            Self::Ended(task) => task.duration_ns,
            Self::Running(task) => now_unix_ns.saturating_sub(task.submitted_ms * 1_000_000),
        }
    }

    /// When it ended, or was submitted if it runs, nanoseconds since the Unix epoch.
    pub(crate) fn moment_unix_ns(&self) -> u64 {
        match self {
            Self::Ended(task) => task.end_unix_ns,
            Self::Running(task) => task.submitted_ms * 1_000_000,
        }
    }

    fn matches(&self, filter: &str, model: &Model) -> bool {
        let artifact = self.artifact();
        let error = match self {
            Self::Ended(task) => task.error.as_deref().unwrap_or_default(),
            Self::Running(_) => "",
        };
        let texts = [
            &self.id().to_string(),
            model.artifact_name(&artifact),
            &artifact,
            self.status(),
            error,
        ];
        filter.is_empty() || texts.iter().any(|text| text.contains(filter))
    }
}

impl Sort {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slowest => "slowest first",
            Self::Newest => "newest first",
            Self::Artifact => "by artifact",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Slowest => Self::Newest,
            Self::Newest => Self::Artifact,
            Self::Artifact => Self::Slowest,
        }
    }
}

impl Choice {
    /// The tasks that are listed, in order.
    pub(crate) fn rows(&self, model: &Model) -> Vec<Row> {
        let mut rows: Vec<Row> = match self.tab {
            Tab::Ended => model.recent.tasks().cloned().map(Row::Ended).collect(),
            Tab::Running => {
                let tasks = model.running.iter().cloned().map(Box::new);
                tasks.map(Row::Running).collect()
            }
        };
        rows.retain(|row| row.matches(&self.filter, model));
        // Running tasks are all measured at one moment, so that the oldest is the slowest.
        let slowness = |row: &Row| std::cmp::Reverse(row.duration_ns(u64::MAX));
        match self.sort {
            Sort::Slowest => rows.sort_by_cached_key(|row| (slowness(row), row.id())),
            Sort::Newest => {
                rows.sort_by_key(|row| (std::cmp::Reverse(row.moment_unix_ns()), row.id()));
            }
            Sort::Artifact => rows.sort_by_cached_key(|row| {
                let artifact = row.artifact();
                let name = model.artifact_name(&artifact).to_owned();
                (name, slowness(row), row.id())
            }),
        }
        rows
    }

    /// Where the mark is; `None` in an empty list.
    pub(crate) fn index(&self, rows: &[Row]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let found = self
            .task
            .and_then(|task| rows.iter().position(|row| row.id() == task));
        Some(found.unwrap_or(self.index.min(last)))
    }

    /// Moves the mark by so many rows. It then stays with its task, but at the very top stays there.
    pub(crate) fn move_mark(&mut self, rows: &[Row], by: isize) {
        let Some(index) = self.index(rows) else {
            return;
        };
        self.index = index.saturating_add_signed(by).min(rows.len() - 1);
        self.task = (self.index > 0).then(|| rows[self.index].id());
    }

    /// The next order; the mark goes to the top.
    pub(crate) fn cycle_sort(&mut self) {
        self.sort = self.sort.next();
        self.unmark();
    }

    /// The other tasks; the mark goes to the top.
    pub(crate) fn switch_tab(&mut self) {
        self.tab = match self.tab {
            Tab::Ended => Tab::Running,
            Tab::Running => Tab::Ended,
        };
        self.unmark();
    }

    fn unmark(&mut self) {
        (self.index, self.task) = (0, None);
    }
}

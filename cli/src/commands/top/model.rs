//! What `vyr top` knows and what its user chose: plain data, changed by what comes from the node and
//! by keys.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use vyr_client::{Lost, Node, ShardMetrics, Span};
use vyr_core::id::{ShardNumber, TaskId};
use vyr_core::metrics::HistogramSnapshot;
use vyr_core::task::Task;

use super::list::{Choice, Row};
use super::recent::{Recent, RecentTask, digest_shown};
use crate::commands::metrics::interval::Interval;
use crate::commands::traces::step::Step;

/// Intervals whose rate is kept for the curve.
const HISTORY_MAX: usize = 256;

/// What comes from the node.
#[derive(Debug)]
pub(crate) enum Update {
    /// Its shards.
    Node(Node),
    /// Names of artifacts, by the digits of their digest that are shown.
    Names(HashMap<String, String>),
    /// A shard's metrics.
    Metrics(Box<ShardMetrics>),
    /// A shard did not answer.
    Missing(ShardNumber),
    /// A finished step.
    Span(Box<Span>),
    /// Steps that came too fast.
    Lost(Lost),
    /// The tasks that run now.
    Running(Vec<Task>),
    /// A stream is there, or is not.
    Stream(Stream, Result<(), String>),
    /// The answer to a wish.
    Answer(String),
}

/// A connection that should always be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Metrics,
    Traces,
}

/// What a key means now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mode {
    /// Choosing a task.
    Browse,
    /// Writing the filter.
    Filter,
    /// Looking at a task's steps.
    Steps(Box<Row>),
    /// Asked whether to cancel a task.
    Confirm(TaskId),
    /// Reading what the keys do.
    Help,
}

/// A shard as it was last heard of.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    metrics: Option<Box<ShardMetrics>>,
    /// Its last interval; none before its second metrics.
    pub(crate) interval: Option<Interval>,
    /// Whether it did not answer.
    pub(crate) is_missing: bool,
}

/// Everything that a picture shows.
pub(crate) struct Model {
    /// The node's URL.
    pub(crate) url: String,
    pub(crate) node: Option<Node>,
    pub(crate) names: HashMap<String, String>,
    pub(crate) shards: BTreeMap<ShardNumber, Shard>,
    /// Tasks each second, oldest first.
    pub(crate) history: VecDeque<f64>,
    pub(crate) recent: Recent,
    pub(crate) running: Vec<Task>,
    /// Spans that came too fast, so far.
    pub(crate) lost_spans: u64,
    pub(crate) choice: Choice,
    pub(crate) mode: Mode,
    pub(crate) is_paused: bool,
    /// What to tell until the next key.
    pub(crate) message: Option<String>,
    metrics_trouble: Option<String>,
    traces_trouble: Option<String>,
}

impl Model {
    pub(crate) fn new(url: &str) -> Self {
        let connecting = || Some("connecting".to_owned());
        Self {
            url: url.to_owned(),
            node: None,
            names: HashMap::new(),
            shards: BTreeMap::new(),
            history: VecDeque::new(),
            recent: Recent::default(),
            running: Vec::new(),
            lost_spans: 0,
            choice: Choice::default(),
            mode: Mode::Browse,
            is_paused: false,
            message: None,
            metrics_trouble: connecting(),
            traces_trouble: connecting(),
        }
    }

    /// Takes in what came; tells whether it should be shown soon. While the picture is paused only
    /// the connection's state is taken in.
    pub(crate) fn apply(&mut self, update: Update) -> bool {
        match update {
            Update::Stream(stream, state) => {
                if stream == Stream::Metrics && state.is_ok() {
                    // What comes now may be another life of the node: no difference to before.
                    let shards = self.shards.values_mut();
                    shards.for_each(|shard| shard.metrics = None);
                }
                let trouble = match stream {
                    Stream::Metrics => &mut self.metrics_trouble,
                    Stream::Traces => &mut self.traces_trouble,
                };
                *trouble = state.err();
                return true;
            }
            Update::Answer(answer) => {
                self.message = Some(answer);
                return true;
            }
            _ if self.is_paused => return false,
            Update::Node(node) => {
                let shards = node.shards_configured;
                self.shards
                    .retain(|number, _| usize::from(number.0) < shards);
                self.node = Some(node);
            }
            Update::Names(names) => self.names = names,
            Update::Metrics(metrics) => self.measured(metrics),
            Update::Missing(shard) => {
                self.shards.entry(shard).or_default().is_missing = true;
            }
            // Too many to draw for each.
            Update::Span(span) => {
                self.recent.add(&span);
                return false;
            }
            Update::Lost(lost) => {
                self.lost_spans = self.lost_spans.saturating_add(lost.spans);
            }
            Update::Running(tasks) => self.running = tasks,
        }
        true
    }

    /// Why the picture is old, when it is.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.metrics_trouble
            .as_deref()
            .or(self.traces_trouble.as_deref())
    }

    /// The last interval of each shard that answers.
    pub(crate) fn intervals(&self) -> impl Iterator<Item = &Interval> {
        let shards = self.shards.values().filter(|shard| !shard.is_missing);
        shards.filter_map(|shard| shard.interval.as_ref())
    }

    /// A counter's growth each second, over all shards.
    pub(crate) fn rate(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.intervals()
            .map(|interval| interval.rate(name, label))
            .sum()
    }

    /// A gauge over all shards; `None` when no shard has it.
    pub(crate) fn gauge(&self, name: &str) -> Option<f64> {
        let values = self.intervals().filter_map(|interval| interval.gauge(name));
        values.reduce(|sum, value| sum + value)
    }

    /// The worst shard's gauge.
    pub(crate) fn worst_gauge(&self, name: &str) -> Option<f64> {
        let values = self.intervals().filter_map(|interval| interval.gauge(name));
        values.reduce(f64::max)
    }

    /// The times of the last interval over all shards.
    pub(crate) fn histogram(&self, name: &str) -> HistogramSnapshot {
        let mut merged = HistogramSnapshot::default();
        for interval in self.intervals() {
            merged.merge(&interval.histogram(name));
        }
        merged
    }

    /// The tasks to choose from, in order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.choice.rows(self)
    }

    /// The task that is chosen.
    pub(crate) fn chosen(&self) -> Option<Row> {
        let mut rows = self.rows();
        let index = self.choice.index(&rows)?;
        Some(rows.swap_remove(index))
    }

    /// The steps of a task, as far as they are known.
    pub(crate) fn steps<'a>(&'a self, row: &'a Row) -> &'a [Step] {
        match row {
            Row::Ended(task) => &task.steps,
            Row::Running(task) => match self.ended(task.id) {
                Some(task) => &task.steps,
                None => self.recent.finished_steps(task.id),
            },
        }
    }

    /// An artifact's name, or the first digits of its digest.
    pub(crate) fn artifact_name<'a>(&'a self, digest: &'a str) -> &'a str {
        self.names.get(digest).map_or(digest, String::as_str)
    }

    fn ended(&self, id: TaskId) -> Option<&Rc<RecentTask>> {
        self.recent.tasks().find(|task| task.id == id)
    }

    fn measured(&mut self, metrics: Box<ShardMetrics>) {
        let number = metrics.shard;
        let shard = self.shards.entry(number).or_default();
        shard.is_missing = false;
        if let Some(last) = &shard.metrics {
            shard.interval = Some(Interval::between(last, &metrics));
        }
        shard.metrics = Some(metrics);
        // One point of the curve for each round of the shards: when the first of them has spoken.
        let mut present = self.shards.iter().filter(|(_, shard)| !shard.is_missing);
        if present.next().is_some_and(|(first, _)| *first == number) {
            self.history.push_back(self.rate("vyr_tasks", None));
            if self.history.len() > HISTORY_MAX {
                self.history.pop_front();
            }
        }
    }
}

/// The digits of a task's artifact that are shown.
pub(crate) fn artifact_of(task: &Task) -> String {
    let digest = task.artifact.map(|digest| digest.to_string());
    digest_shown(&digest.unwrap_or_default())
}

#[cfg(test)]
mod tests;

//! The tasks of the trace stream that are worth showing: the newest, and the slowest of the last
//! minute. However many tasks a node runs, this stays small.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use vyr_client::Span;
use vyr_core::id::TaskId;

use crate::commands::figures::printable;
use crate::commands::traces::step::Step;

/// The newest tasks that are kept.
const NEWEST_MAX: usize = 100;
/// The slowest tasks that are kept besides.
const SLOWEST_MAX: usize = 100;
/// How long a slow task is kept, nanoseconds.
const SLOWEST_AGE_NS_MAX: u64 = 60_000_000_000;
/// Tasks whose end did not come yet.
const UNFINISHED_MAX: usize = 512;
/// Steps that are kept of one task.
const STEPS_MAX: usize = 64;
/// Digits that are shown of an artifact's digest.
const DIGEST_DIGITS: usize = 12;

/// A task that ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecentTask {
    pub(crate) id: TaskId,
    /// The first digits of the artifact's digest.
    pub(crate) artifact: String,
    /// Its terminal status.
    pub(crate) status: String,
    /// Whether its artifact had to be loaded first.
    pub(crate) is_cold: bool,
    /// Its steps, the whole included.
    pub(crate) steps: Vec<Step>,
    /// When it ended, nanoseconds since the Unix epoch.
    pub(crate) end_unix_ns: u64,
    pub(crate) duration_ns: u64,
    /// What went wrong, when something did.
    pub(crate) error: Option<String>,
}

/// The tasks that are kept.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    unfinished: HashMap<TaskId, Vec<Step>>,
    /// The unfinished ones, oldest first; a task may be there that is finished.
    unfinished_order: VecDeque<TaskId>,
    newest: VecDeque<Rc<RecentTask>>,
    slowest: Vec<Rc<RecentTask>>,
}

impl Recent {
    /// Takes in a finished span. One that is known already changes nothing: a stream that is begun
    /// again brings the last ones again.
    pub(crate) fn add(&mut self, span: &Span) {
        let Some(id) = span.task() else {
            return;
        };
        if span.is_task() {
            let mut steps = self.unfinished.remove(&id).unwrap_or_default();
            steps.push(Step::of(span));
            self.finish(RecentTask {
                id,
                artifact: digest_shown(span.text("vyr.artifact.digest").unwrap_or_default()),
                status: printable(span.text("vyr.task.status").unwrap_or_default()),
                is_cold: span.flag("faas.coldstart") == Some(true),
                steps,
                end_unix_ns: span.end_unix_ns,
                duration_ns: span.duration_ns(),
                error: span.error().map(printable),
            });
            return;
        }
        if !self.unfinished.contains_key(&id) {
            self.make_room();
            self.unfinished_order.push_back(id);
        }
        let steps = self.unfinished.entry(id).or_default();
        let step = Step::of(span);
        if steps.len() < STEPS_MAX && !steps.iter().any(|other| other.is_same_as(&step)) {
            steps.push(step);
        }
    }

    /// The tasks that are kept, in no order.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Rc<RecentTask>> {
        self.newest.iter().chain(&self.slowest)
    }

    /// The steps that a task which still runs has finished.
    pub(crate) fn finished_steps(&self, id: TaskId) -> &[Step] {
        self.unfinished.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Forgets the unfinished task that is oldest if there is no room for one more.
    fn make_room(&mut self) {
        while self.unfinished.len() >= UNFINISHED_MAX
            && let Some(oldest) = self.unfinished_order.pop_front()
        {
            self.unfinished.remove(&oldest);
        }
        // Those that have finished are gone through now and then, not at the end of each.
        if self.unfinished_order.len() >= 2 * UNFINISHED_MAX {
            let unfinished = &self.unfinished;
            self.unfinished_order
                .retain(|id| unfinished.contains_key(id));
        }
    }

    fn finish(&mut self, task: RecentTask) {
        if self.tasks().any(|known| known.id == task.id) {
            return;
        }
        let oldest_end_unix_ns = task.end_unix_ns.saturating_sub(SLOWEST_AGE_NS_MAX);
        self.slowest
            .retain(|task| task.end_unix_ns >= oldest_end_unix_ns);
        self.newest.push_back(Rc::new(task));
        if self.newest.len() <= NEWEST_MAX {
            return;
        }
        let Some(oldest) = self.newest.pop_front() else {
            return;
        };
        if self.slowest.len() < SLOWEST_MAX {
            self.slowest.push(oldest);
            return;
        }
        let fastest = self.slowest.iter_mut().min_by_key(|task| task.duration_ns);
        if let Some(fastest) = fastest
            && fastest.duration_ns < oldest.duration_ns
        {
            *fastest = oldest;
        }
    }
}

/// The digits of a digest that are shown.
pub(crate) fn digest_shown(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    printable(&hex.chars().take(DIGEST_DIGITS).collect::<String>())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A span of a task, as the node sends it.
    pub(crate) fn span(task: TaskId, name: &str, times_ns: [u64; 2], status: &str) -> Span {
        let text = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
        let mut attributes = vec![
            text("vyr.task.id", &task.to_string()),
            text("vyr.artifact.digest", "sha256:0123456789abcdef0123"),
        ];
        let mut span = serde_json::json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": format!("{name}{task}"),
            "parentSpanId": format!("task{task}"), "name": name, "kind": if name == "GET" { 3 } else { 1 },
            "startTimeUnixNano": times_ns[0].to_string(), "endTimeUnixNano": times_ns[1].to_string(),
        });
        if name == "task" {
            attributes.push(text("vyr.step", "task"));
            attributes.push(text("vyr.task.status", status));
            span["parentSpanId"] = serde_json::Value::Null;
        }
        if status == "failed" {
            span["status"] = serde_json::json!({"code": 2, "message": "guest_trap"});
        }
        span["attributes"] = attributes.into();
        serde_json::from_value(span).expect("a span")
    }

    fn id(number: u64) -> TaskId {
        TaskId::from_bits(u128::from(number) << 32)
    }

    #[test]
    fn a_task_is_kept_with_its_steps_when_its_whole_came() {
        let mut recent = Recent::default();
        recent.add(&span(id(1), "queue", [10, 20], "running"));
        recent.add(&span(id(2), "queue", [10, 20], "running"));
        recent.add(&span(id(1), "execute", [20, 90], "running"));
        assert_eq!(recent.tasks().count(), 0);
        assert_eq!(recent.finished_steps(id(1)).len(), 2);
        recent.add(&span(id(1), "task", [10, 100], "failed"));
        let task = recent.tasks().next().expect("it ended");
        assert_eq!((task.id, task.duration_ns), (id(1), 90));
        assert_eq!(task.artifact, "0123456789ab");
        assert_eq!(task.status, "failed");
        assert_eq!(task.error.as_deref(), Some("guest_trap"));
        let names: Vec<_> = task.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["queue", "execute", "task"]);
        assert!(recent.finished_steps(id(1)).is_empty());
        assert_eq!(recent.finished_steps(id(2)).len(), 1);
    }

    #[test]
    fn what_comes_again_changes_nothing() {
        let mut recent = Recent::default();
        for _ in 0..3 {
            recent.add(&span(id(1), "queue", [10, 20], "running"));
            recent.add(&span(id(2), "queue", [10, 20], "running"));
            recent.add(&span(id(1), "task", [10, 100], "succeeded"));
        }
        let tasks: Vec<_> = recent.tasks().map(|task| task.steps.len()).collect();
        assert_eq!(tasks, [2]);
        assert_eq!(recent.finished_steps(id(2)).len(), 1);
        assert!(recent.finished_steps(id(1)).is_empty());
    }

    #[test]
    fn slow_tasks_outlast_fast_ones_for_a_minute_and_nothing_grows() {
        let mut recent = Recent::default();
        let second_ns = 1_000_000_000;
        // One in a hundred is slow; ten tasks end each second.
        for number in 0..5_000_u64 {
            let end = 100 * second_ns + number * second_ns / 10;
            let duration = if number % 100 == 0 { second_ns } else { 1_000 };
            let span = span(id(number), "task", [end - duration, end], "succeeded");
            recent.add(&span);
            assert!(recent.newest.len() <= NEWEST_MAX && recent.slowest.len() <= SLOWEST_MAX);
        }
        let slow = recent.tasks().filter(|task| task.duration_ns == second_ns);
        let slow: Vec<_> = slow.map(|task| task.end_unix_ns).collect();
        assert!((6..=7).contains(&slow.len()), "those of a minute: {slow:?}");
        let newest = id(4_999);
        assert!(recent.tasks().any(|task| task.id == newest));
    }

    #[test]
    fn a_long_task_keeps_its_first_steps_however_many_short_ones_pass() {
        let mut recent = Recent::default();
        let long = id(u64::MAX >> 8);
        recent.add(&span(long, "queue", [1, 2], "running"));
        for number in 0..10 * UNFINISHED_MAX as u64 {
            recent.add(&span(id(number), "queue", [1, 2], "running"));
            recent.add(&span(id(number), "task", [1, 3], "succeeded"));
            assert!(recent.unfinished_order.len() <= 2 * UNFINISHED_MAX);
        }
        assert_eq!(recent.finished_steps(long).len(), 1);
    }

    #[test]
    fn tasks_that_never_end_do_not_pile_up() {
        let mut recent = Recent::default();
        for number in 0..10 * UNFINISHED_MAX as u64 {
            recent.add(&span(id(number), "queue", [1, 2], "running"));
        }
        for number in 0..10 * STEPS_MAX {
            let name = format!("own {number}");
            recent.add(&span(id(u64::MAX >> 8), &name, [1, 2], "running"));
        }
        assert!(recent.unfinished.len() <= UNFINISHED_MAX);
        assert!(recent.unfinished_order.len() <= 2 * UNFINISHED_MAX);
        assert_eq!(recent.finished_steps(id(u64::MAX >> 8)).len(), STEPS_MAX);
        assert!(recent.finished_steps(id(0)).is_empty());
    }
}

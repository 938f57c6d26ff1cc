//! The model, as keys and the node change it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use vyr_core::metrics::{Metric, Registry, Unit};

use super::*;
use crate::commands::top::keys::{Wish, press};
use crate::commands::top::list::{Sort, Tab};
use crate::commands::top::recent::tests::span;

pub(crate) fn id(number: u64) -> TaskId {
    TaskId::from_bits(u128::from(number) << 32)
}

fn ended(model: &mut Model, number: u64, times_ns: [u64; 2], status: &str) {
    let span = span(id(number), "task", times_ns, status);
    model.apply(Update::Span(Box::new(span)));
}

fn running(number: u64, submitted_ms: u64) -> Task {
    let task = serde_json::json!({
        "id": id(number), "status": "running", "shard": 0, "submitted_ms": submitted_ms,
        "artifact": format!("sha256:{}", "ab".repeat(32)), "kind": "command",
        "usage": {"queue_us": 0, "instantiate_us": 0, "execute_us": 0, "cpu_us": 0,
                  "memory_peak_bytes": 0, "cold": false},
        "output_bytes": 0, "log_bytes": 0, "log_bytes_dropped": 0,
    });
    serde_json::from_value(task).expect("a task")
}

fn metrics(shard: u16, unix_ms: u64, tasks: u64) -> Update {
    const TASKS: Metric = Metric {
        name: "vyr_tasks",
        unit: Unit::Count,
        help: "x",
    };
    let registry = Registry::new();
    registry
        .counter(&TASKS, &[("status", "succeeded")])
        .add(tasks);
    Update::Metrics(Box::new(ShardMetrics {
        shard: ShardNumber(shard),
        unix_ms,
        snapshot: registry.snapshot(),
    }))
}

fn ids(model: &Model) -> Vec<TaskId> {
    model.rows().iter().map(Row::id).collect()
}

fn keys(model: &mut Model, keys: &str) -> Option<Wish> {
    let mut wish = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        wish = press(model, KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

fn three_tasks() -> Model {
    let mut model = Model::new("http://127.0.0.1:7411");
    ended(&mut model, 1, [0, 50], "succeeded");
    ended(&mut model, 2, [0, 90], "failed");
    ended(&mut model, 3, [95, 100], "succeeded");
    model
}

#[test]
fn tasks_are_sorted_and_filtered_and_the_mark_stays_with_its_task() {
    let mut model = three_tasks();
    assert_eq!(ids(&model), [id(2), id(1), id(3)]);
    keys(&mut model, "j");
    assert_eq!(model.chosen().map(|row| row.id()), Some(id(1)));
    ended(&mut model, 4, [0, 70], "succeeded");
    assert_eq!(ids(&model), [id(2), id(4), id(1), id(3)]);
    assert_eq!(model.chosen().map(|row| row.id()), Some(id(1)));
    keys(&mut model, "kk");
    ended(&mut model, 5, [0, 99], "succeeded");
    assert_eq!(
        model.chosen().map(|row| row.id()),
        Some(id(5)),
        "at the top it stays there"
    );

    keys(&mut model, "s");
    assert_eq!(model.choice.sort, Sort::Newest);
    assert_eq!(ids(&model)[0], id(3));
    keys(&mut model, "/faix\x08l\n");
    assert_eq!(ids(&model), [id(2)]);
    keys(&mut model, "jjjj");
    assert_eq!(model.chosen().map(|row| row.id()), Some(id(2)));
    keys(&mut model, "\x1b/trap\n");
    assert_eq!(ids(&model), [id(2)], "errors are looked at as well");
    keys(&mut model, "/no such text\n");
    assert!(model.chosen().is_none());
    assert_eq!(keys(&mut model, "jk\n"), None);
    keys(&mut model, "\x1b");
    assert_eq!(ids(&model).len(), 5);
}

#[test]
fn names_of_artifacts_are_searched_and_order_the_list() {
    let mut model = three_tasks();
    let names = HashMap::from([("0123456789ab".to_owned(), "event-transform".to_owned())]);
    model.apply(Update::Names(names));
    keys(&mut model, "/transf\n");
    assert_eq!(ids(&model).len(), 3);
    keys(&mut model, "ss");
    assert_eq!(model.choice.sort, Sort::Artifact);
    assert_eq!(ids(&model), [id(2), id(1), id(3)], "then the slowest first");
}

#[test]
fn only_a_running_task_is_cancelled_and_only_after_a_yes() {
    let mut model = three_tasks();
    model.apply(Update::Running(vec![running(7, 1_000), running(8, 500)]));
    assert_eq!(keys(&mut model, "c"), None);
    assert!(
        model
            .message
            .as_ref()
            .is_some_and(|text| text.contains("tab"))
    );
    keys(&mut model, "\t");
    assert_eq!(model.choice.tab, Tab::Running);
    assert_eq!(
        ids(&model),
        [id(8), id(7)],
        "what runs longest stands first"
    );
    assert_eq!(keys(&mut model, "cn"), None);
    assert_eq!(model.mode, Mode::Browse);
    assert_eq!(keys(&mut model, "jcy"), Some(Wish::Cancel(id(7))));
    model.apply(Update::Answer("task is cancelled".into()));
    assert_eq!(model.message.as_deref(), Some("task is cancelled"));
    model.apply(Update::Running(Vec::new()));
    assert_eq!(keys(&mut model, "cy"), None);
}

#[test]
fn a_tasks_steps_stay_open_although_the_list_moves_on() {
    let mut model = three_tasks();
    keys(&mut model, "\n");
    let Mode::Steps(row) = model.mode.clone() else {
        panic!("the steps are open");
    };
    for number in 10..1_000 {
        ended(&mut model, number, [100, 200 + number], "succeeded");
    }
    assert_eq!(row.id(), id(2));
    assert_eq!(model.steps(&row).len(), 1);
    assert_eq!(keys(&mut model, "\x1b"), None);
    assert_eq!(model.mode, Mode::Browse);
    assert_eq!(keys(&mut model, "?"), None);
    assert_eq!(model.mode, Mode::Help);
    assert_eq!(keys(&mut model, "q"), Some(Wish::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for mode in [Mode::Browse, Mode::Filter, Mode::Confirm(id(1)), Mode::Help] {
        model.mode = mode;
        assert_eq!(press(&mut model, control_c), Some(Wish::Quit));
    }
}

#[test]
fn a_running_task_shows_the_steps_it_has_finished() {
    let mut model = three_tasks();
    model.apply(Update::Running(vec![running(7, 1_000)]));
    let queue = span(id(7), "queue", [1, 2], "running");
    model.apply(Update::Span(Box::new(queue)));
    keys(&mut model, "\t");
    let row = model.chosen().expect("it runs");
    assert_eq!(model.steps(&row).len(), 1);
    ended(&mut model, 7, [1, 9], "succeeded");
    assert_eq!(model.steps(&row).len(), 2, "also once it has ended");
}

#[test]
fn each_round_of_the_shards_is_one_point_of_the_curve() {
    let mut model = Model::new("unix:/x");
    for round in 0..4 {
        for shard in [0, 1] {
            let at = 1_000 + 1_000 * round;
            model.apply(metrics(shard, at, 10 * round * (1 + u64::from(shard))));
        }
    }
    assert_eq!(model.rate("vyr_tasks", None), 30.0);
    assert_eq!(model.history.len(), 4);
    model.apply(Update::Missing(ShardNumber(0)));
    assert_eq!(
        model.rate("vyr_tasks", None),
        20.0,
        "an old rate does not stay"
    );
    model.apply(metrics(1, 5_000, 80));
    assert_eq!(model.history.len(), 5, "the other shard goes on");
    for round in 0..2_000 {
        model.apply(metrics(1, 6_000 + round, 80));
    }
    assert!(model.history.len() <= HISTORY_MAX);
}

#[test]
fn a_node_that_is_there_again_is_not_compared_with_its_earlier_life() {
    let mut model = Model::new("unix:/x");
    for shard in [0, 1] {
        model.apply(metrics(shard, 1_000, 50));
        model.apply(metrics(shard, 2_000, 60));
    }
    model.apply(Update::Stream(Stream::Metrics, Err("it broke".into())));
    model.apply(Update::Stream(Stream::Metrics, Ok(())));
    model.apply(metrics(0, 9_000, 90));
    assert_eq!(
        model.rate("vyr_tasks", None),
        20.0,
        "not 30 in seven seconds"
    );
    let node = serde_json::json!({"version": "0.1.0", "listen": "127.0.0.1:7411",
        "shards_configured": 1, "shards": []});
    let node = serde_json::from_value(node).expect("a node");
    model.apply(Update::Node(node));
    assert_eq!(model.rate("vyr_tasks", None), 10.0, "it has one shard now");
}

#[test]
fn a_paused_picture_keeps_still_but_tells_of_the_connection() {
    let mut model = three_tasks();
    assert_eq!(model.trouble(), Some("connecting"));
    model.apply(Update::Stream(Stream::Metrics, Ok(())));
    model.apply(Update::Stream(Stream::Traces, Ok(())));
    assert_eq!(model.trouble(), None);
    keys(&mut model, "p");
    ended(&mut model, 9, [0, 500], "succeeded");
    assert_eq!(ids(&model).len(), 3);
    model.apply(Update::Stream(Stream::Traces, Err("it broke".into())));
    assert_eq!(model.trouble(), Some("it broke"));
    keys(&mut model, "p");
    ended(&mut model, 9, [0, 500], "succeeded");
    assert_eq!(ids(&model).len(), 4);
}

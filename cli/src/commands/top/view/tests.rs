//! Pictures of one model at several sizes. A picture that has changed is shown by the failing test;
//! `VYR_TEST_BLESS=1` writes it.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use vyr_client::{Lost, ShardMetrics};
use vyr_core::id::{ShardNumber, TaskId};
use vyr_core::metrics::{Metric, Registry, Unit};

use super::*;
use crate::commands::top::keys::press;
use crate::commands::top::model::{Stream, Update};
use crate::commands::top::recent::tests::span;

const NOW_UNIX_NS: u64 = 1_700_000_030_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

/// A shard's metrics, of which everything grows with the round.
fn metrics(shard: u16, round: u64) -> Update {
    let metric = |name, unit| Metric {
        name,
        unit,
        help: "x",
    };
    let registry = Registry::new();
    for (status, each) in [("succeeded", 1234), ("failed", 2), ("timed_out", 1)] {
        let tasks = registry.counter(&metric("vyr_tasks", Unit::Count), &[("status", status)]);
        tasks.add(each * round * round);
    }
    let times = registry.histogram(&metric("vyr_task_seconds", Unit::Seconds), &[]);
    for turn in 0..1000 * round {
        times.record_ns(20_000 * (1 + turn % 100));
    }
    let cpu = registry.time_counter(&metric("vyr_executor_cpu_seconds", Unit::Seconds), &[]);
    cpu.add_ns((400 + 550 * u64::from(shard)) * MILLISECOND_NS * round);
    let gauge = |name, value| registry.gauge(&metric(name, Unit::Count), &[]).set(value);
    gauge("vyr_tasks_running", 4);
    gauge("vyr_tasks_queued", 12 * i64::from(shard));
    gauge("vyr_instances_live", 6);
    gauge("vyr_instances_live_max", 1000);
    gauge("vyr_instances_idle", 2);
    gauge("vyr_states", 3);
    gauge("vyr_state_keys", 120);
    gauge("vyr_state_bytes", 32 << 10);
    gauge("vyr_memory_resident_bytes", 60 << 20);
    let stall = registry.gauge(&metric("vyr_executor_stall_seconds", Unit::Seconds), &[]);
    stall.set_ratio(0.0031);
    Update::Metrics(Box::new(ShardMetrics {
        shard: ShardNumber(shard),
        unix_ms: 1_700_000_000_000 + 1000 * round,
        snapshot: registry.snapshot(),
    }))
}

fn task(number: u64) -> TaskId {
    let bits = (u128::from(1_700_000_000_000 + number) << 80) | u128::from(number * 7_919);
    TaskId::from_bits(bits)
}

/// A node under load that has run for a while.
fn busy_node() -> Model {
    let mut model = Model::new("http://127.0.0.1:7411");
    let shard = |number: u16| {
        serde_json::json!({
            "shard": number, "address": format!("127.0.0.1:{}", 40_000 + number), "pid": 7, "life": 0,
            "cpu": number, "executor": "io_uring", "uptime_ms": 11_520_000, "draining": false,
        })
    };
    let node = serde_json::json!({
        "version": "0.1.0", "listen": "127.0.0.1:7411", "shards_configured": 2,
        "shards": [shard(0), shard(1)],
    });
    let node = serde_json::from_value(node).expect("a node");
    model.apply(Update::Node(node));
    model.apply(Update::Stream(Stream::Metrics, Ok(())));
    model.apply(Update::Stream(Stream::Traces, Ok(())));
    for round in 0..12 {
        for shard in [0, 1] {
            model.apply(metrics(shard, round));
        }
    }
    let end = NOW_UNIX_NS - 3_000 * MILLISECOND_NS;
    for number in 0..30 {
        let id = task(number);
        let start = end - (30 - number) * 2 * MILLISECOND_NS;
        let step = |name, from, to| span(id, name, [start + from, start + to], "running");
        let status = match number % 10 {
            7 => "failed",
            9 => "timed_out",
            _ => "succeeded",
        };
        for step in [
            step("submit", 0, MILLISECOND_NS / 10),
            step("queue", MILLISECOND_NS / 10, number * MILLISECOND_NS / 30),
            step("instantiate", MILLISECOND_NS, 3 * MILLISECOND_NS / 2),
            step("execute", 3 * MILLISECOND_NS / 2, end - start),
            step("GET", 2 * MILLISECOND_NS, (end - start) / 2),
            span(id, "task", [start, end], status),
        ] {
            model.apply(Update::Span(Box::new(step)));
        }
    }
    let lost = Lost {
        shard: ShardNumber(1),
        spans: 120,
    };
    model.apply(Update::Lost(lost));
    let names = [("0123456789ab".to_owned(), "event-transform".to_owned())];
    model.apply(Update::Names(names.into()));
    model
}

fn keys(model: &mut Model, keys: &[KeyCode]) {
    for code in keys {
        press(model, KeyEvent::new(*code, KeyModifiers::NONE));
    }
}

fn picture(model: &Model, width: u16, height: u16, coloured: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    let drawing = |frame: &mut Frame<'_>| {
        draw(frame, model, Palette::new(coloured), NOW_UNIX_NS);
    };
    terminal.draw(drawing).expect("memory");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width).max(1));
    rows.map(|cells| {
        let row: String = cells.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", row.trim_end())
    })
    .collect()
}

/// Compares a picture with the one that is kept.
fn check(name: &str, model: &Model, width: u16, height: u16) {
    let drawn = text(&picture(model, width, height, true));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/commands/top/view/pictures")
        .join(format!("{name}.txt"));
    if std::env::var_os("VYR_TEST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
        std::fs::write(&path, &drawn).expect("writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(drawn == kept, "{name} is now\n{drawn}\nand was\n{kept}");
}

#[test]
fn a_busy_node_at_both_usual_sizes() {
    let model = busy_node();
    check("busy-80x24", &model, 80, 24);
    check("busy-120x40", &model, 120, 40);
}

#[test]
fn steps_and_help_take_the_lists_place() {
    let mut model = busy_node();
    keys(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    check("steps-80x24", &model, 80, 24);
    keys(&mut model, &[KeyCode::Esc, KeyCode::Char('?')]);
    check("help-80x24", &model, 80, 24);
}

#[test]
fn trouble_and_questions_are_told_below() {
    let mut model = busy_node();
    let reason = "trying again in 0.2 s: http://127.0.0.1:7411: the node ended the stream";
    model.apply(Update::Missing(ShardNumber(1)));
    model.apply(Update::Stream(Stream::Metrics, Err(reason.into())));
    check("reconnecting-80x24", &model, 80, 24);
    model.mode = Mode::Confirm(task(3));
    let shown = text(&picture(&model, 80, 24, true));
    assert!(
        shown.contains(&format!("cancel task {}? y", task(3))),
        "{shown}"
    );
    model.mode = Mode::Filter;
    model.choice.filter = "hash\x1b[2J".into();
    let shown = text(&picture(&model, 80, 24, true));
    assert!(shown.contains("/hash·[2J"), "{shown}");
}

#[test]
fn any_size_can_be_drawn_and_the_mark_stays_in_sight() {
    let mut model = busy_node();
    for number in 2..40 {
        for round in [0, 1] {
            model.apply(metrics(number, round));
        }
    }
    let empty = Model::new("http://127.0.0.1:7411");
    let mut others = Vec::new();
    for key in ['?', '/', 'p'] {
        let mut other = busy_node();
        keys(&mut other, &[KeyCode::Char(key)]);
        others.push(other);
    }
    let mut steps = busy_node();
    keys(&mut steps, &[KeyCode::Enter]);
    others.push(steps);
    for width in [1, 2, 9, 20, 37, 38, 39, 60, 79, 80, 99, 100, 150, 300] {
        for height in [1, 2, 3, 5, 7, 8, 9, 10, 15, 24, 60] {
            for model in others.iter().chain([&model, &empty]) {
                picture(model, width, height, true);
            }
        }
    }
    keys(&mut model, &[KeyCode::PageDown; 10]);
    let marked = model.chosen().expect("there are tasks").id().to_string();
    let shown = text(&picture(&model, 80, 24, true));
    assert!(shown.contains(&marked[marked.len() - 8..]), "{shown}");
}

#[test]
fn without_colours_everything_is_still_told() {
    let model = busy_node();
    let (plain, coloured) = (
        picture(&model, 80, 24, false),
        picture(&model, 80, 24, true),
    );
    assert_eq!(text(&plain), text(&coloured));
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset));
    let colours = coloured.content.iter().map(|cell| cell.fg);
    for colour in colours {
        assert!(
            !matches!(colour, Color::Rgb(..) | Color::Indexed(_)),
            "a terminal with sixteen colours does not have {colour}"
        );
    }
}

//! The exposition, read back by a strict parser of our own and, where it is installed, by the one
//! of Prometheus' Python client.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::{Metric, Registry, Unit};
use super::*;

const TASKS: Metric = Metric {
    name: "vyr_tasks",
    unit: Unit::Count,
    help: "Tasks that ended.",
};
const BUSY: Metric = Metric {
    name: "vyr_executor_busy_seconds",
    unit: Unit::Seconds,
    help: "Time not idle.",
};
const QUEUED: Metric = Metric {
    name: "vyr_tasks_queued",
    unit: Unit::Count,
    help: "Odd text: \"quoted\", back\\slash,\nnew line.",
};
const SHARE: Metric = Metric {
    name: "vyr_busy_ratio",
    unit: Unit::Ratio,
    help: "Share.",
};
const QUEUE: Metric = Metric {
    name: "vyr_task_queue_seconds",
    unit: Unit::Seconds,
    help: "Time in the queue.",
};
const ODD: &str = "a \"b\" \\ \n é {},=";

fn registry() -> (Registry, crate::metrics::Histogram) {
    let registry = Registry::new();
    registry
        .counter(&TASKS, &[("kind", "http"), ("status", "succeeded")])
        .add(3);
    registry
        .counter(&TASKS, &[("kind", "command"), ("status", "failed")])
        .inc();
    registry.time_counter(&BUSY, &[]).add_ns(1_500_000_001);
    registry.gauge(&QUEUED, &[("artifact", ODD)]).set(-4);
    registry.gauge(&SHARE, &[]).set_ratio(0.25);
    let queue = registry.histogram(&QUEUE, &[("kind", "http")]);
    (registry, queue)
}

/// Samples by name and label set, as the strict parser found them.
type Samples = BTreeMap<(String, Vec<(String, String)>), String>;

/// Reads OpenMetrics text and refuses everything that the specification does not allow, within what
/// [`render`] uses: no timestamps, no exemplars.
fn parse(text: &str) -> Samples {
    let body = text
        .strip_suffix("# EOF\n")
        .expect("the text ends with '# EOF'");
    let (mut samples, mut families) = (Samples::new(), Vec::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name) = (words.next(), words.next().expect("a name").to_owned());
            let value = words.next().expect("a value");
            match word {
                Some("TYPE") => {
                    assert!(!families.contains(&name), "{name} is not contiguous");
                    families.push(name.clone());
                    (family, kind) = (name, value.to_owned());
                }
                Some("UNIT") => assert!(name.ends_with(&format!("_{value}")), "{name}: {value}"),
                Some("HELP") => assert_eq!(name, family),
                other => panic!("{other:?}"),
            }
            continue;
        }
        let (head, value) = line.rsplit_once("} ").expect("labels and a value");
        let (name, labels) = head.split_once('{').expect("labels");
        let suffix = name
            .strip_prefix(family.as_str())
            .expect("a sample of its family");
        match kind.as_str() {
            "counter" => assert_eq!(suffix, "_total"),
            "gauge" => assert_eq!(suffix, ""),
            "histogram" => assert!(["_bucket", "_count", "_sum"].contains(&suffix), "{name}"),
            other => panic!("{other}"),
        }
        value.parse::<f64>().expect("a number");
        let key = (name.to_owned(), parse_labels(labels));
        assert!(key.1.iter().any(|(label, _)| label == "shard"), "{line}");
        assert!(
            samples.insert(key, value.to_owned()).is_none(),
            "twice: {line}"
        );
    }
    samples
}

fn parse_labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (position, character) in rest.char_indices() {
            match (escaped, character) {
                (true, 'n') => value.push('\n'),
                (true, '\\' | '"') => value.push(character),
                (true, other) => panic!("\\{other}"),
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(position + 1);
                    break;
                }
                (false, other) => value.push(other),
            }
            escaped = !escaped && character == '\\';
        }
        labels.push((name.to_owned(), value));
        text = &rest[end.expect("a closing quote")..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    labels.sort();
    labels
}

fn sample<'a>(samples: &'a Samples, name: &str, labels: &[(&str, &str)]) -> Option<&'a str> {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    labels.sort();
    samples.get(&(name.to_owned(), labels)).map(String::as_str)
}

#[test]
fn every_kind_is_shown_for_every_shard() {
    let ((one, queue), (two, _)) = (registry(), registry());
    for time_ns in [
        999,
        1_000,
        1_000_000,
        1_000_001,
        59_000_000_000,
        61_000_000_000,
    ] {
        queue.record_ns(time_ns);
    }
    let shards = [
        (ShardNumber(0), one.snapshot()),
        (ShardNumber(1), two.snapshot()),
    ];
    let samples = parse(&render(Form::OpenMetrics, &shards));
    for shard in ["0", "1"] {
        let find = |name, labels: &[(&str, &str)]| {
            sample(&samples, name, &[labels, &[("shard", shard)]].concat()).map(str::to_owned)
        };
        let http = [("kind", "http"), ("status", "succeeded")];
        assert_eq!(find("vyr_tasks_total", &http).as_deref(), Some("3"));
        assert_eq!(
            find("vyr_executor_busy_seconds_total", &[]).as_deref(),
            Some("1.500000001")
        );
        assert_eq!(
            find("vyr_tasks_queued", &[("artifact", ODD)]).as_deref(),
            Some("-4")
        );
        assert_eq!(find("vyr_busy_ratio", &[]).as_deref(), Some("0.25"));
    }
    let bucket = |shard, bound| {
        let labels = [("shard", shard), ("kind", "http"), ("le", bound)];
        sample(&samples, "vyr_task_queue_seconds_bucket", &labels).map(str::to_owned)
    };
    for (bound, count) in [
        ("1e-06", "2"),
        ("0.0005", "2"),
        ("0.001", "4"),
        ("60.0", "5"),
        ("+Inf", "6"),
    ] {
        assert_eq!(bucket("0", bound).as_deref(), Some(count), "{bound}");
        assert_eq!(bucket("1", bound).as_deref(), Some("0"), "{bound}");
    }
    let labels = [("shard", "0"), ("kind", "http")];
    let find = |name| sample(&samples, name, &labels);
    assert_eq!(find("vyr_task_queue_seconds_count"), Some("6"));
    assert_eq!(find("vyr_task_queue_seconds_sum"), Some("120.002002000"));
}

#[test]
fn a_family_of_another_meaning_is_left_out() {
    let (one, _) = registry();
    let mut other = one.snapshot();
    other.families[0].kind = FamilyKind::Gauge;
    let samples = parse(&render(
        Form::OpenMetrics,
        &[(ShardNumber(0), one.snapshot()), (ShardNumber(1), other)],
    ));
    let of_tasks: Vec<_> = samples
        .keys()
        .filter(|(name, _)| name == "vyr_tasks_total")
        .collect();
    assert_eq!(of_tasks.len(), 2, "{of_tasks:?}");
}

#[test]
fn no_shards_are_an_empty_exposition() {
    assert_eq!(render(Form::OpenMetrics, &[]), "# EOF\n");
}

#[test]
fn the_older_form_names_counters_by_their_samples() {
    let (registry, _) = registry();
    let text = render(Form::Prometheus, &[(ShardNumber(0), registry.snapshot())]);
    assert!(
        text.contains("# TYPE vyr_tasks_total counter\n# HELP vyr_tasks_total Tasks that ended.\n")
    );
    assert!(text.contains("\nvyr_tasks_total{shard=\"0\",kind=\"http\",status=\"succeeded\"} 3\n"));
    assert!(
        text.contains("# HELP vyr_tasks_queued Odd text: \"quoted\", back\\\\slash,\\nnew line.\n")
    );
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
}

#[test]
fn a_snapshot_travels_as_json() {
    let (registry, queue) = registry();
    queue.record_ns(12_345);
    let snapshot = registry.snapshot();
    let json = serde_json::to_string(&snapshot).expect("a snapshot is JSON");
    let back: Snapshot = serde_json::from_str(&json).expect("it reads back");
    assert_eq!(back, snapshot);
    assert_eq!(
        back.histogram("vyr_task_queue_seconds"),
        Some(queue.snapshot())
    );
}

/// Reads the text with `prometheus_client` and prints the number of families and samples.
const PYTHON: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(len(families), sum(len(family.samples) for family in families))
";

#[test]
fn the_parser_of_prometheus_accepts_it() {
    let python = std::env::var("VYR_PYTHON").unwrap_or_else(|_| "python3".into());
    let installed = Command::new(&python)
        .args(["-c", "import prometheus_client.openmetrics.parser"])
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "{python}: no prometheus_client"
        );
        println!("skipped: no prometheus_client for {python}; install it, or set VYR_PYTHON");
        return;
    }
    let (registry, queue) = registry();
    queue.record_ns(2_000_000);
    let shards = [
        (ShardNumber(0), registry.snapshot()),
        (ShardNumber(9), registry.snapshot()),
    ];
    let text = render(Form::OpenMetrics, &shards);
    let mut child = Command::new(&python)
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("python reads");
    drop(input);
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "{text}");
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found.trim(), format!("5 {}", parse(&text).len()));
}

//! A task's steps below each other, each where and as long as it was.

use super::step::Step;
use crate::commands::figures::time;

/// A task's steps in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waterfall {
    start_unix_ns: u64,
    length_ns: u64,
    /// The steps, each after the one that it is a part of.
    pub(crate) rows: Vec<Row>,
}

/// A step's line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// How many steps it is a part of.
    pub(crate) depth: usize,
    pub(crate) step: Step,
}

/// Cells of a bar: empty ones, then filled ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) empty: usize,
    pub(crate) filled: usize,
}

/// Deeper steps are drawn at this depth.
const DEPTH_MAX: usize = 8;

impl Waterfall {
    /// Orders a task's steps: by what they are a part of, then by when they began. A step whose
    /// whole is not there stands for itself.
    pub(crate) fn of(steps: &[Step]) -> Self {
        let start_unix_ns = steps.iter().map(|step| step.start_unix_ns).min();
        let end_unix_ns = steps.iter().map(|step| step.end_unix_ns).max();
        let start_unix_ns = start_unix_ns.unwrap_or(0);
        let mut waterfall = Self {
            start_unix_ns,
            length_ns: end_unix_ns.unwrap_or(0).saturating_sub(start_unix_ns),
            rows: Vec::with_capacity(steps.len()),
        };
        let mut rest: Vec<&Step> = steps.iter().collect();
        // The longest of those that begin together is what the others are a part of.
        rest.sort_by_key(|step| (step.start_unix_ns, u64::MAX - step.duration_ns()));
        while !rest.is_empty() {
            // Without such a step the ids go in a circle; then any is a beginning.
            let first = rest
                .iter()
                .position(|step| !rest.iter().any(|other| other.is_parent_of(step)));
            waterfall.add(0, first.unwrap_or(0), &mut rest);
        }
        waterfall
    }

    /// Moves a step and, after it, its parts.
    fn add(&mut self, depth: usize, index: usize, rest: &mut Vec<&Step>) {
        let step = rest.remove(index);
        self.rows.push(Row {
            depth: depth.min(DEPTH_MAX),
            step: step.clone(),
        });
        while let Some(part) = rest.iter().position(|other| step.is_parent_of(other)) {
            self.add(depth + 1, part, rest);
        }
    }

    /// When a step began, nanoseconds after the first one.
    pub(crate) fn offset_ns(&self, step: &Step) -> u64 {
        step.start_unix_ns - self.start_unix_ns
    }

    /// A step's place in a bar of so many cells; it has at least one.
    pub(crate) fn bar(&self, step: &Step, cells: usize) -> Bar {
        if cells == 0 || self.length_ns == 0 {
            return Bar {
                empty: 0,
                filled: cells,
            };
        }
        let scale = cells as f64 / self.length_ns as f64;
        let empty = (self.offset_ns(step) as f64 * scale) as usize;
        let end = ((self.offset_ns(step) + step.duration_ns()) as f64 * scale).round() as usize;
        let empty = empty.min(cells - 1);
        Bar {
            empty,
            filled: end.clamp(empty + 1, cells) - empty,
        }
    }

    /// The lines as plain text, with bars of so many cells.
    pub(crate) fn lines(&self, cells: usize) -> Vec<String> {
        let name = |row: &Row| format!("{:indent$}{}", "", row.step.name, indent = 2 * row.depth);
        let widths = self.rows.iter().map(|row| name(row).chars().count());
        let width = widths.max().unwrap_or(0);
        let line = |row: &Row| {
            let bar = self.bar(&row.step, cells);
            let error = row.step.error.as_deref().unwrap_or_default();
            let line = format!(
                "{:<width$}  {:>8}  {:>8}  {}{}{}  {error}",
                name(row),
                format!("+{}", time(self.offset_ns(&row.step))),
                time(row.step.duration_ns()),
                "·".repeat(bar.empty),
                "█".repeat(bar.filled),
                "·".repeat(cells - bar.empty - bar.filled),
            );
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A step from its JSON, as all come.
    pub(crate) fn step(id: &str, parent: Option<&str>, name: &str, times_ns: [u64; 2]) -> Step {
        let span = span(id, parent, name, times_ns);
        Step::of(&serde_json::from_value(span).expect("a span"))
    }

    /// A span of a guest's own.
    pub(crate) fn guests_step(id: &str, name: &str, times_ns: [u64; 2]) -> Step {
        let mut span = span(id, None, name, times_ns);
        let step = serde_json::json!({"key": "vyr.step", "value": {"stringValue": "guest"}});
        span["attributes"] = vec![step].into();
        Step::of(&serde_json::from_value(span).expect("a span"))
    }

    fn span(id: &str, parent: Option<&str>, name: &str, times_ns: [u64; 2]) -> serde_json::Value {
        serde_json::json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent,
            "name": name, "kind": if name == "GET" { 3 } else { 1 },
            "startTimeUnixNano": times_ns[0].to_string(), "endTimeUnixNano": times_ns[1].to_string(),
        })
    }

    #[test]
    fn steps_stand_below_their_whole_in_the_order_they_began() {
        let steps = [
            step("2", Some("1"), "submit", [1_000_000, 1_100_000]),
            step("3", Some("1"), "queue", [1_100_000, 1_200_000]),
            step("6", Some("4"), "own\x1b[2J", [1_500_000, 1_600_000]),
            step("5", Some("1"), "GET", [1_700_000, 2_900_000]),
            step("4", Some("1"), "execute", [1_200_000, 3_000_000]),
            step("1", Some("of a client"), "task", [1_000_000, 3_000_000]),
        ];
        assert_eq!(
            Waterfall::of(&steps).lines(20).join("\n"),
            "task             +0ns    2.00ms  ████████████████████\n\
             \u{20} submit         +0ns     100µs  █···················\n\
             \u{20} queue        +100µs     100µs  ·█··················\n\
             \u{20} execute      +200µs    1.80ms  ··██████████████████\n\
             \u{20}   own·[2J    +500µs     100µs  ·····█··············\n\
             \u{20} GET          +700µs    1.20ms  ·······████████████·"
        );
    }

    #[test]
    fn circles_lone_parts_and_nothing_do_no_harm() {
        assert!(Waterfall::of(&[]).lines(10).is_empty());
        let circle = [
            step("1", Some("2"), "a", [5, 6]),
            step("2", Some("1"), "b", [5, 9]),
            step("3", Some("3"), "c", [7, 7]),
            step("4", Some("gone"), "d", [u64::MAX - 1, u64::MAX]),
        ];
        let waterfall = Waterfall::of(&circle);
        assert_eq!(waterfall.rows.len(), 4);
        for cells in [0, 1, 7] {
            for row in &waterfall.rows {
                let bar = waterfall.bar(&row.step, cells);
                assert!(bar.empty + bar.filled <= cells, "{bar:?} of {cells}");
            }
        }
        let mut deep: Vec<_> = (1..=64)
            .map(|id: u64| step(&id.to_string(), Some(&(id - 1).to_string()), "x", [id, 100]))
            .collect();
        deep.reverse();
        assert_eq!(Waterfall::of(&deep).rows[63].depth, DEPTH_MAX);
    }
}

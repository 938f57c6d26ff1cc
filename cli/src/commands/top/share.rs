//! Where a task's time went, as the parts of a bar.

use crate::commands::traces::step::Step;

/// A part of a task's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Waiting for its turn.
    Queue,
    /// Making its instance.
    Instantiate,
    /// Running its guest, without the calls to other services.
    Execute,
    /// Waiting for other services.
    Outgoing,
    /// Everything else.
    Other,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [
        Self::Queue,
        Self::Instantiate,
        Self::Execute,
        Self::Outgoing,
        Self::Other,
    ];

    /// Its name in a legend.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Instantiate => "instantiate",
            Self::Execute => "execute",
            Self::Outgoing => "outgoing",
            Self::Other => "other",
        }
    }

    /// Its name where there is little room.
    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Instantiate => "inst",
            Self::Execute => "exec",
            Self::Outgoing => "out",
            Self::Other => "other",
        }
    }

    /// How a bar shows it, so that it can be told without colours.
    pub(crate) fn glyph(self) -> char {
        match self {
            Self::Queue => '░',
            Self::Instantiate => '▒',
            Self::Execute => '█',
            Self::Outgoing => '▓',
            Self::Other => '·',
        }
    }
}

/// The time of each part, nanoseconds, in the order of [`Part::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shares([u64; 5]);

impl Shares {
    /// Where the time of a task with these steps went.
    pub(crate) fn of(steps: &[Step], duration_ns: u64) -> Self {
        let time = |name: &str| {
            let steps = steps.iter().filter(|step| step.own_name() == Some(name));
            steps.map(Step::duration_ns).sum::<u64>()
        };
        let execute = time("execute");
        let outgoing = covered_ns(steps).min(execute);
        let (queue, instantiate) = (time("queue"), time("instantiate"));
        let known = queue + instantiate + execute;
        Self([
            queue,
            instantiate,
            execute - outgoing,
            outgoing,
            duration_ns.saturating_sub(known),
        ])
    }

    /// How many of a bar's cells each part gets; together all of them.
    pub(crate) fn cells(self, width: usize) -> [(Part, usize); 5] {
        let total: u64 = self.0.iter().sum();
        let (mut sum, mut end) = (0, 0);
        std::array::from_fn(|index| {
            sum += self.0[index];
            let start = end;
            end = if total == 0 {
                // A task without time is all "other".
                if index + 1 == self.0.len() { width } else { 0 }
            } else {
                (sum as f64 / total as f64 * width as f64).round() as usize
            };
            (Part::ALL[index], end - start)
        })
    }
}

/// The time in which at least one call to another service was under way.
fn covered_ns(steps: &[Step]) -> u64 {
    let calls = steps.iter().filter(|step| step.is_outgoing);
    let mut calls: Vec<_> = calls
        .map(|step| (step.start_unix_ns, step.end_unix_ns))
        .collect();
    calls.sort_unstable();
    let (mut covered, mut until) = (0, 0);
    for (start, end) in calls {
        covered += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::traces::waterfall::tests::{guests_step, step};

    #[test]
    fn calls_that_overlap_count_once_and_are_not_execution() {
        let steps = [
            step("1", None, "submit", [0, 10]),
            step("2", None, "queue", [10, 20]),
            step("3", None, "instantiate", [20, 30]),
            step("4", None, "execute", [30, 90]),
            step("5", None, "GET", [40, 60]),
            step("6", None, "GET", [50, 70]),
        ];
        let shares = Shares::of(&steps, 100);
        assert_eq!(shares.0, [10, 10, 30, 30, 20]);
        let cells = shares.cells(10).map(|(_, cells)| cells);
        assert_eq!(cells, [1, 1, 3, 3, 2]);
    }

    #[test]
    fn a_guests_span_counts_for_nothing_whatever_its_name() {
        let steps = [
            step("1", None, "execute", [0, 10]),
            guests_step("2", "execute", [0, 10]),
            guests_step("3", "queue", [0, 10]),
        ];
        assert_eq!(Shares::of(&steps, 10).0, [0, 0, 10, 0, 0]);
    }

    #[test]
    fn a_bar_is_always_full() {
        for shares in [
            [0; 5],
            [1, 0, 0, 0, 0],
            [3, 3, 3, 1, 7],
            [0, 0, 1, u64::MAX / 2, 0],
        ] {
            for width in 0..40 {
                let cells = Shares(shares).cells(width);
                let sum: usize = cells.iter().map(|(_, cells)| cells).sum();
                assert_eq!(sum, width, "{shares:?}");
            }
        }
        let longer_than_its_task = [step("1", None, "queue", [0, 50])];
        assert_eq!(Shares::of(&longer_than_its_task, 10).0, [50, 0, 0, 0, 0]);
    }
}

//! What a task says at its end.

use std::fmt;

/// The numbers of one task; `held` and `held_max` count what earlier tasks left in the bucket too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Readings accepted into the store.
    pub received: u64,
    /// Lines that were not readings.
    pub malformed: u64,
    /// Readings acknowledged upstream.
    pub delivered: u64,
    /// Readings that were not later than the last one accepted of their station.
    pub duplicates_suppressed: u64,
    /// Batches acknowledged upstream.
    pub batches: u64,
    /// Requests made after one that had failed.
    pub retries: u64,
    /// The longest time without an acknowledgement after a failure.
    pub longest_outage_ms: u64,
    /// The most readings that were in the store.
    pub held_max: u64,
    /// The readings that are in the store now.
    pub held: u64,
}

impl fmt::Display for Summary {
    /// One JSON object.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, malformed, delivered, duplicates_suppressed, .. } = self;
        let Self { batches, retries, longest_outage_ms, held_max, held, .. } = self;
        write!(
            formatter,
            "{{\"received\":{received},\"malformed\":{malformed},\"delivered\":{delivered},\
             \"duplicates_suppressed\":{duplicates_suppressed},\"batches\":{batches},\
             \"retries\":{retries},\"longest_outage_ms\":{longest_outage_ms},\
             \"held_max\":{held_max},\"held\":{held}}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_json_object_with_its_members_in_order() {
        let summary =
            Summary { received: 1, malformed: 2, held_max: 8, held: 9, ..Summary::default() };
        let text = summary.to_string();
        assert_eq!(
            text,
            r#"{"received":1,"malformed":2,"delivered":0,"duplicates_suppressed":0,"batches":0,"retries":0,"longest_outage_ms":0,"held_max":8,"held":9}"#
        );
    }
}

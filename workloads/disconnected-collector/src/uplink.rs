//! When to send: after a failure, pauses that grow and differ; how long the uplink was down.

use crate::limits::RETRY_MS_MIN;

const MS: u64 = 1_000_000;

/// The state of the way upstream. All instants are nanoseconds of one monotonic clock.
#[derive(Debug)]
pub struct Uplink {
    retry_ms_max: u64,
    /// Requests that failed one after the other until now.
    failures: u32,
    attempted_at_ns: u64,
    not_before_ns: u64,
    down_since_ns: Option<u64>,
    longest_outage_ns: u64,
    retries: u64,
}

impl Uplink {
    /// An uplink of which nothing is known yet.
    pub fn new(retry_ms_max: u64) -> Self {
        Self {
            retry_ms_max,
            failures: 0,
            attempted_at_ns: 0,
            not_before_ns: 0,
            down_since_ns: None,
            longest_outage_ns: 0,
            retries: 0,
        }
    }

    /// The earliest instant of the next request.
    pub fn not_before_ns(&self) -> u64 {
        self.not_before_ns
    }

    /// Takes note that a request begins.
    pub fn attempt(&mut self, now_ns: u64) {
        self.attempted_at_ns = now_ns;
        self.retries += u64::from(self.failures > 0);
    }

    /// Takes note that it failed, and of a random number that moves the next one. Whether the uplink has
    /// just gone down.
    pub fn failed(&mut self, now_ns: u64, random: u64) -> bool {
        // Half of the pause is certain and half is chance, so that many collectors that lost the same
        // sink do not come back to it in step.
        let doubled = RETRY_MS_MIN.saturating_mul(1 << self.failures.min(32));
        let pause_ns = doubled.min(self.retry_ms_max).saturating_mul(MS);
        let certain_ns = pause_ns / 2;
        self.not_before_ns = now_ns + certain_ns + random % (pause_ns - certain_ns + 1);
        self.failures = self.failures.saturating_add(1);
        // The outage began with the request that did not get through, not when that was known.
        let begins = self.down_since_ns.is_none();
        self.down_since_ns.get_or_insert(self.attempted_at_ns);
        begins
    }

    /// Takes note that a batch was acknowledged. The length of the outage that this ends.
    pub fn acknowledged(&mut self, now_ns: u64) -> Option<u64> {
        self.failures = 0;
        self.not_before_ns = now_ns;
        let outage_ns = now_ns - self.down_since_ns.take()?;
        self.longest_outage_ns = self.longest_outage_ns.max(outage_ns);
        Some(outage_ns)
    }

    /// Requests that were made after one that had failed.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// The longest outage, one that lasts until now among them.
    pub fn longest_outage_ms(&self, now_ns: u64) -> u64 {
        let lasting_ns = self.down_since_ns.map_or(0, |since_ns| now_ns - since_ns);
        self.longest_outage_ns.max(lasting_ns) / MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_vary_by_half() {
        for random in [0, 1, 123_456_789, u64::MAX] {
            let mut uplink = Uplink::new(2_000);
            for (failure, pause_ms) in
                [50, 100, 200, 400, 800, 1600, 2000, 2000].into_iter().enumerate()
            {
                uplink.attempt(7 * MS);
                assert_eq!(uplink.failed(7 * MS, random), failure == 0);
                let pause_ns = uplink.not_before_ns() - 7 * MS;
                assert!((pause_ms * MS / 2..=pause_ms * MS).contains(&pause_ns), "{pause_ns}");
            }
            assert_eq!(uplink.retries(), 7);
            uplink.acknowledged(8 * MS);
            assert_eq!(uplink.not_before_ns(), 8 * MS);
            uplink.attempt(9 * MS);
            assert_eq!(uplink.retries(), 7, "a new batch is not a retry");
        }
    }

    #[test]
    fn a_bound_below_the_first_pause_holds_and_years_of_failures_do_not_overflow() {
        let mut uplink = Uplink::new(10);
        for _ in 0..100 {
            uplink.failed(0, u64::MAX);
            assert!(uplink.not_before_ns() <= 10 * MS);
        }
    }

    #[test]
    fn an_outage_lasts_from_the_first_request_that_failed_to_the_next_acknowledgement() {
        let mut uplink = Uplink::new(1);
        uplink.attempt(10 * MS);
        assert!(uplink.failed(15 * MS, 0));
        uplink.attempt(17 * MS);
        assert!(!uplink.failed(18 * MS, 0));
        assert_eq!(uplink.longest_outage_ms(20 * MS), 10);
        uplink.attempt(20 * MS);
        assert_eq!(uplink.acknowledged(22 * MS), Some(12 * MS));
        assert_eq!(uplink.acknowledged(23 * MS), None);
        uplink.attempt(30 * MS);
        uplink.failed(31 * MS, 0);
        assert_eq!(uplink.longest_outage_ms(32 * MS), 12);
        assert_eq!(uplink.longest_outage_ms(50 * MS), 20);
    }
}

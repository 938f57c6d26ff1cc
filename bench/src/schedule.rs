//! When requests are due.

use std::time::Duration;

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Equal distances.
    Constant,
    /// Independent of each other, as those of many clients are: exponential distances.
    Poisson,
}

/// An endless schedule of times, counted from the start of the load.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    period_ns: f64,
    due_ns: f64,
    random: u64,
}

impl Schedule {
    /// `rate_rps` requests per second, which must be above 0.
    #[must_use]
    pub(crate) fn new(arrivals: Arrivals, rate_rps: f64) -> Self {
        Self {
            arrivals,
            period_ns: 1e9 / rate_rps,
            due_ns: 0.0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A number above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = Duration::from_nanos(self.due_ns as u64);
        self.due_ns += match self.arrivals {
            Arrivals::Constant => self.period_ns,
            Arrivals::Poisson => -self.uniform().ln() * self.period_ns,
        };
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_have_equal_distances() {
        let due: Vec<_> = Schedule::new(Arrivals::Constant, 4000.0).take(4).collect();
        assert_eq!(due, [0, 250, 500, 750].map(Duration::from_micros));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        const COUNT: usize = 100_000;
        let due: Vec<_> = Schedule::new(Arrivals::Poisson, 1000.0)
            .take(COUNT)
            .collect();
        let mean_ms = due[COUNT - 1].as_secs_f64() * 1e3 / COUNT as f64;
        assert!(
            (0.98..1.02).contains(&mean_ms),
            "mean distance {mean_ms} ms"
        );
        let long = due
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > Duration::from_millis(1))
            .count() as f64
            / COUNT as f64;
        // Of exponential distances, 1/e are above the mean.
        assert!((0.358..0.378).contains(&long), "{long} above the mean");
    }
}

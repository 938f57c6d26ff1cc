//! Who may run now, who waits, who is turned away.
//!
//! At most `running_max` tasks run, at most `queued_max` wait, in order of arrival; one more is
//! refused at once, so that a client learns of overload while it can still go elsewhere.
//!
//! Requests whose guests are brief never fill that queue: each runs when its turn of the executor has
//! come. What they wait for it is bounded by [`Lateness`].

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vyr_core::limits::ShardLimits;

use crate::error::Error;

/// The time by which it is judged whether a shard keeps up, nanoseconds. A burst that is served within it
/// is not refused.
const WINDOW_NS: u64 = 1_000_000_000;

/// What a refusal costs the shard, from reading the request to sending the answer, nanoseconds.
const REFUSAL_NS: u64 = 10_000;

/// Guests' time for each unit of time spent on refusals. Clients that are refused come back; without a bound a
/// shard with very brief guests would do nothing but refuse.
const GUESTS_TO_REFUSALS: u64 = 10;

/// Refusals saved up for a burst, nanoseconds.
const BUDGET_NS_MAX: u64 = 10_000_000;

pub(crate) struct Admission {
    lateness: Lateness,
    turns: Arc<Semaphore>,
    queued: Cell<usize>,
    queued_max: usize,
    closed: Cell<bool>,
}

/// A place in the queue; dropping it leaves the queue.
pub(crate) struct Ticket {
    admission: Rc<Admission>,
}

/// The right to run; dropping it gives the turn to the next.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(limits: &ShardLimits) -> Rc<Self> {
        Rc::new(Self {
            lateness: Lateness::new(limits.request_wait_ms_max),
            turns: Arc::new(Semaphore::new(limits.running_max)),
            queued: Cell::new(0),
            queued_max: limits.queued_max,
            closed: Cell::new(false),
        })
    }

    pub(crate) fn admit(self: &Rc<Self>) -> Result<Ticket, Error> {
        if self.closed.get() {
            return Err(Error::Overloaded {
                reason: "the node is stopping".into(),
            });
        }
        // Those that will get a turn at once do not count as waiting.
        if self.queued.get() >= self.queued_max + self.turns.available_permits() {
            return Err(Error::Overloaded {
                reason: format!("the shard has {} tasks waiting, its bound", self.queued_max),
            });
        }
        self.queued.set(self.queued.get() + 1);
        Ok(Ticket {
            admission: Rc::clone(self),
        })
    }

    /// As [`Admission::admit`], for a request that came at `received_ns` and whose client waits for it.
    pub(crate) fn admit_request(
        self: &Rc<Self>,
        received_ns: u64,
        now_ns: u64,
    ) -> Result<Ticket, Error> {
        if self.lateness.refuses(received_ns, now_ns) {
            return Err(Error::Overloaded {
                reason: format!(
                    "the request has waited for {} ms, and the shard has more than it can serve",
                    (now_ns - received_ns) / 1_000_000
                ),
            });
        }
        self.admit()
    }

    /// A guest has held the core for so long.
    pub(crate) fn guest_ran(&self, cpu_ns: u64) {
        self.lateness.guest_ran(cpu_ns);
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.get()
    }
}

/// Who came too late: while a shard does not keep up, requests that waited long are refused, so that those that
/// are served are served in time.
struct Lateness {
    wait_ns_max: u64,
    /// When the window began.
    window_ns: Cell<u64>,
    /// Time in the window when no request waited.
    pause_ns: Cell<u64>,
    /// Until when a request waited.
    waited_until_ns: Cell<u64>,
    /// Whether in the last window requests waited most of the time.
    behind: Cell<bool>,
    /// What may be spent on refusals.
    budget_ns: Cell<u64>,
}

impl Lateness {
    fn new(wait_ms_max: u64) -> Self {
        Self {
            wait_ns_max: wait_ms_max.saturating_mul(1_000_000),
            window_ns: Cell::new(0),
            pause_ns: Cell::new(0),
            waited_until_ns: Cell::new(0),
            behind: Cell::new(false),
            budget_ns: Cell::new(0),
        }
    }

    fn refuses(&self, received_ns: u64, now_ns: u64) -> bool {
        let pause_ns = received_ns.saturating_sub(self.waited_until_ns.replace(now_ns));
        self.pause_ns.set(self.pause_ns.get() + pause_ns);
        let window_ns = now_ns - self.window_ns.get();
        if window_ns >= WINDOW_NS {
            self.behind.set(self.pause_ns.replace(0) < window_ns / 2);
            self.window_ns.set(now_ns);
        }
        let late = self.behind.get() && now_ns - received_ns > self.wait_ns_max;
        let budget_ns = self.budget_ns.get();
        if !late || budget_ns < REFUSAL_NS {
            return false;
        }
        self.budget_ns.set(budget_ns - REFUSAL_NS);
        true
    }

    fn guest_ran(&self, cpu_ns: u64) {
        let budget_ns = self.budget_ns.get() + cpu_ns / GUESTS_TO_REFUSALS;
        self.budget_ns.set(budget_ns.min(BUDGET_NS_MAX));
    }
}

impl Ticket {
    /// Waits for the turn, in order of arrival.
    pub(crate) async fn turn(self) -> Turn {
        let turns = Arc::clone(&self.admission.turns);
        // The semaphore lives as long as the admission and is never closed.
        let permit = turns
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Turn { _permit: permit }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.queued.set(self.admission.queued.get() - 1);
    }
}

/// Admits and lets go, as often as what it returns is called: what admission costs a task.
pub fn round(limits: &ShardLimits) -> impl AsyncFn() + use<> {
    let admission = Admission::new(limits);
    async move || {
        let ticket = admission.admit();
        debug_assert!(ticket.is_ok(), "nobody else is admitted");
        if let Ok(ticket) = ticket {
            drop(ticket.turn().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    fn admission(running_max: usize, queued_max: usize) -> Rc<Admission> {
        Admission::new(&ShardLimits {
            running_max,
            queued_max,
            ..ShardLimits::default()
        })
    }

    #[test]
    fn turns_come_in_order_and_the_queue_has_an_end() {
        block_on(async {
            let admission = admission(1, 1);
            let first = admission.admit().expect("a free turn").turn().await;
            let mut second = Box::pin(admission.admit().expect("a place in the queue").turn());
            assert!(poll_once(&mut second).await.is_none());
            assert!(matches!(admission.admit(), Err(Error::Overloaded { .. })));
            drop(first);
            assert!(poll_once(&mut second).await.is_some());
            assert_eq!(admission.queued(), 0);
        });
    }

    #[test]
    fn leaving_the_queue_frees_the_place() {
        block_on(async {
            let admission = admission(1, 1);
            let _running = admission.admit().expect("a free turn").turn().await;
            drop(admission.admit().expect("a place"));
            assert!(admission.admit().is_ok());
        });
    }

    #[derive(Default)]
    struct Served {
        served: u64,
        refused: u64,
        /// Of those that were served in the last second.
        longest_wait_ns: u64,
    }

    const SECOND_NS: u64 = 1_000_000_000;
    const WAIT_NS_MAX: u64 = 5_000_000;

    /// For three seconds, requests come `apart_ns` from each other, for guests that take `guest_ns` each.
    fn serve(apart_ns: u64, guest_ns: u64) -> Served {
        let admission = Admission::new(&ShardLimits {
            request_wait_ms_max: WAIT_NS_MAX / 1_000_000,
            ..ShardLimits::default()
        });
        let mut now_ns = SECOND_NS;
        let mut outcome = Served::default();
        for number in 0..3 * SECOND_NS / apart_ns {
            let received_ns = SECOND_NS + number * apart_ns;
            now_ns = now_ns.max(received_ns);
            let wait_ns = now_ns - received_ns;
            if admission.admit_request(received_ns, now_ns).is_err() {
                outcome.refused += 1;
                now_ns += REFUSAL_NS;
                continue;
            }
            outcome.served += 1;
            if received_ns > 3 * SECOND_NS {
                outcome.longest_wait_ns = outcome.longest_wait_ns.max(wait_ns);
            }
            now_ns += guest_ns;
            admission.guest_ran(guest_ns);
        }
        outcome
    }

    #[test]
    fn a_shard_that_keeps_up_refuses_nobody() {
        for guest_ns in [10_000, 1_000_000] {
            assert_eq!(serve(guest_ns * 10 / 9, guest_ns).refused, 0, "{guest_ns}");
        }
    }

    #[test]
    fn late_requests_are_refused_while_the_shard_is_behind() {
        let guest_ns = 1_000_000;
        let outcome = serve(guest_ns / 3, guest_ns);
        let guests_ns = outcome.served * guest_ns;
        assert!(
            guests_ns > 27 * SECOND_NS / 10,
            "guests ran for {guests_ns} ns"
        );
        assert!(
            outcome.longest_wait_ns <= WAIT_NS_MAX,
            "{} ns",
            outcome.longest_wait_ns
        );
    }

    #[test]
    fn refusals_take_no_more_than_their_share() {
        let guest_ns = 10_000;
        let Served {
            served, refused, ..
        } = serve(guest_ns / 3, guest_ns);
        assert!(refused > 0);
        assert!(
            refused * REFUSAL_NS <= served * guest_ns / GUESTS_TO_REFUSALS,
            "{refused} were refused, {served} served"
        );
    }

    #[test]
    fn a_burst_is_served_however_late() {
        let admission = admission(256, 1024);
        admission.guest_ran(u64::from(u32::MAX));
        for burst in 1..10 {
            let received_ns = burst * 3 * SECOND_NS;
            for number in 0..90 {
                let now_ns = received_ns + number * 10_000_000;
                assert!(admission.admit_request(received_ns, now_ns).is_ok());
            }
        }
    }

    #[test]
    fn a_closed_admission_refuses() {
        let admission = admission(1, 1);
        admission.close();
        assert!(matches!(admission.admit(), Err(Error::Overloaded { .. })));
    }
}

//! Who may run now, who waits, who is turned away.
//!
//! At most `running_max` tasks run, at most `queued_max` wait, in order of arrival; one more is
//! refused at once, so that a client learns of overload while it can still go elsewhere. HTTP requests stand in
//! [line](crate::line) before.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vyr_core::limits::ShardLimits;
use vyr_core::task::Kind;

use crate::error::Error;

/// HTTP requests that wait for a turn among the commands; the others stand in [line](crate::line).
const REQUESTS_QUEUED_MAX: usize = 8;

pub(crate) struct Admission {
    turns: Arc<Semaphore>,
    queued: Cell<usize>,
    /// Of them, HTTP requests.
    requests_queued: Cell<usize>,
    queued_max: usize,
    closed: Cell<bool>,
}

/// A place in the queue; dropping it leaves the queue.
pub(crate) struct Ticket {
    admission: Rc<Admission>,
    kind: Kind,
}

/// The right to run; dropping it gives the turn to the next.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(limits: &ShardLimits) -> Rc<Self> {
        Rc::new(Self {
            turns: Arc::new(Semaphore::new(limits.running_max)),
            queued: Cell::new(0),
            requests_queued: Cell::new(0),
            queued_max: limits.queued_max,
            closed: Cell::new(false),
        })
    }

    pub(crate) fn admit(self: &Rc<Self>, kind: Kind) -> Result<Ticket, Error> {
        self.check_room()?;
        self.queued.set(self.queued.get() + 1);
        if kind == Kind::Http {
            self.requests_queued.set(self.requests_queued.get() + 1);
        }
        Ok(Ticket {
            admission: Rc::clone(self),
            kind,
        })
    }

    /// Whether one more would be admitted now.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
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
        Ok(())
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Requests that may join the tasks now: as many as would get their turn at once, or a few that keep a place in the order
    /// while commands wait for theirs.
    pub(crate) fn room_for_requests(&self) -> usize {
        if self.closed.get() {
            // They are refused at once.
            return usize::MAX;
        }
        let requests = self.requests_queued.get();
        match self.turns.available_permits() {
            0 if self.queued.get() > requests => REQUESTS_QUEUED_MAX.saturating_sub(requests),
            free => free,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.get()
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
        let admission = &self.admission;
        admission.queued.set(admission.queued.get() - 1);
        if self.kind == Kind::Http {
            let requests = admission.requests_queued.get();
            admission.requests_queued.set(requests - 1);
        }
    }
}

/// Admits and lets go, as often as what it returns is called: what admission costs a task.
pub fn round(limits: &ShardLimits) -> impl AsyncFn() + use<> {
    let admission = Admission::new(limits);
    async move || {
        let ticket = admission.admit(Kind::Command);
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
            let first = admission
                .admit(Kind::Command)
                .expect("a free turn")
                .turn()
                .await;
            let mut second = Box::pin(
                admission
                    .admit(Kind::Command)
                    .expect("a place in the queue")
                    .turn(),
            );
            assert!(poll_once(&mut second).await.is_none());
            assert!(matches!(
                admission.admit(Kind::Command),
                Err(Error::Overloaded { .. })
            ));
            drop(first);
            assert!(poll_once(&mut second).await.is_some());
            assert_eq!(admission.queued(), 0);
        });
    }

    #[test]
    fn leaving_the_queue_frees_the_place() {
        block_on(async {
            let admission = admission(1, 1);
            let _running = admission
                .admit(Kind::Command)
                .expect("a free turn")
                .turn()
                .await;
            drop(admission.admit(Kind::Command).expect("a place"));
            assert!(admission.admit(Kind::Command).is_ok());
        });
    }

    #[test]
    fn requests_keep_a_place_among_waiting_commands() {
        block_on(async {
            let admission = admission(1, 100);
            assert_eq!(admission.room_for_requests(), 1);
            let first = admission.admit(Kind::Command).expect("a free turn");
            let running = first.turn().await;
            assert_eq!(admission.room_for_requests(), 0, "no command waits");
            let command = admission.admit(Kind::Command).expect("a place");
            assert_eq!(admission.room_for_requests(), REQUESTS_QUEUED_MAX);
            let request = admission.admit(Kind::Http).expect("a place");
            assert_eq!(admission.room_for_requests(), REQUESTS_QUEUED_MAX - 1);
            drop((request, command, running));
            assert_eq!(admission.room_for_requests(), 1);
        });
    }

    #[test]
    fn a_closed_admission_refuses() {
        let admission = admission(1, 1);
        admission.close();
        assert!(matches!(
            admission.admit(Kind::Command),
            Err(Error::Overloaded { .. })
        ));
    }
}

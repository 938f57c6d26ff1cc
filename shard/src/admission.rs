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

use crate::error::Error;

pub(crate) struct Admission {
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
            turns: Arc::new(Semaphore::new(limits.running_max)),
            queued: Cell::new(0),
            queued_max: limits.queued_max,
            closed: Cell::new(false),
        })
    }

    pub(crate) fn admit(self: &Rc<Self>) -> Result<Ticket, Error> {
        self.check_room()?;
        self.queued.set(self.queued.get() + 1);
        Ok(Ticket {
            admission: Rc::clone(self),
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

    /// Tasks that would get their turn at once.
    pub(crate) fn free_turns(&self) -> usize {
        self.turns
            .available_permits()
            .saturating_sub(self.queued.get())
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

    #[test]
    fn a_closed_admission_refuses() {
        let admission = admission(1, 1);
        admission.close();
        assert!(matches!(admission.admit(), Err(Error::Overloaded { .. })));
    }
}

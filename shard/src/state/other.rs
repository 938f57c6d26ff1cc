//! States of other shards: a task that is bound to states of several shards runs with the first
//! one's, and reaches the others by asking their shards.
//!
//! A binding from another shard is a lease there. Every operation renews it, and so does the task's
//! shard while the task lives; when that shard's process ends, its leases run out.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vyr_core::id::{StateId, TaskId};
use vyr_core::problem::Code;
use vyr_core::state::Mode;

use super::call::{Call, Refused, Reply};
use super::shared::SharedStates;
use super::states::Binding;
use crate::{clock, rt};

/// How long a lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often a task's shard renews it.
const RENEWAL: Duration = Duration::from_secs(10);
/// How soon it tries again when the other shard does not answer.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// The way to the other shards of the node.
pub trait OtherShards {
    /// Asks the shard that owns the request's state.
    fn ask(&self, request: OtherRequest) -> Pin<Box<dyn Future<Output = Result<Reply, Refused>>>>;
}

/// What one shard asks another on behalf of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRequest {
    /// The task that is bound.
    pub task: TaskId,
    /// The state.
    pub state: StateId,
    /// Which of the task's bindings: its shard counts them, so that two to one state are told apart.
    pub binding: u64,
    /// What is asked.
    pub what: What,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Bind the state, or renew the binding.
    Bind {
        /// What the binding allows.
        mode: Mode,
        /// Bytes that the task may let the state grow to.
        bytes_max: u64,
    },
    /// The task has ended, or was refused.
    Unbind {
        /// Whether there was such a task.
        was_used: bool,
    },
    /// An operation through the binding.
    Call(Call),
}

impl What {
    /// Whether it is the same to ask it twice, whatever happens in between. A write is not: the second one could undo
    /// somebody else's.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        match self {
            Self::Bind { .. } | Self::Unbind { .. } => true,
            Self::Call(call) => call.only_reads(),
        }
    }
}

/// The bindings that tasks of other shards have here.
#[derive(Default)]
pub(super) struct Leases(HashMap<LeaseKey, Lease>);

/// The task and the number of its binding.
type LeaseKey = (TaskId, u64);

struct Lease {
    binding: Binding,
    bytes_max: u64,
    ends_ns: u64,
}

fn lease_end() -> u64 {
    clock::monotonic_ns() + u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX / 2)
}

impl SharedStates {
    /// Sets the way to the other shards; without it their states cannot be bound.
    pub fn set_others(&self, others: Rc<dyn OtherShards>) {
        // Only the first one counts; there is one HTTP side.
        let _ = self.others.set(others);
    }

    /// Does what another shard asks of a state of this one.
    ///
    /// # Errors
    /// As the operation's; [`Code::StateNotFound`] when the lease has run out.
    pub fn answer_other(&self, request: OtherRequest) -> Result<Reply, Refused> {
        let key = (request.task, request.binding);
        match request.what {
            What::Bind { mode, bytes_max } => {
                if self.renew(key).is_none() {
                    let binding = self.bind(request.state, mode)?;
                    let lease = Lease {
                        binding,
                        bytes_max,
                        ends_ns: lease_end(),
                    };
                    self.leases.borrow_mut().0.insert(key, lease);
                    self.lease_began();
                }
                Ok(Reply::Done)
            }
            What::Unbind { was_used } => {
                let lease = self.leases.borrow_mut().0.remove(&key);
                match lease {
                    Some(lease) if was_used => self.unbind(lease.binding),
                    Some(lease) => self.give_up(lease.binding),
                    None => {}
                }
                Ok(Reply::Done)
            }
            What::Call(call) => {
                let access = match self.renew(key) {
                    Some(access) => access,
                    None => return Err(self.without_lease(request.state)),
                };
                self.call(access, call)
            }
        }
    }

    /// Why a task has no binding to a state any more.
    fn without_lease(&self, id: StateId) -> Refused {
        match self.describe(id) {
            Ok(_) => Refused {
                code: Code::StateNotFound,
                detail: format!("the task's binding to state {id} has run out"),
            },
            // A state of an earlier life is lost, which is not the same as ended.
            Err(error) => error.into(),
        }
    }

    fn renew(&self, key: LeaseKey) -> Option<super::Access> {
        let mut leases = self.leases.borrow_mut();
        let lease = leases.0.get_mut(&key)?;
        lease.ends_ns = lease_end();
        Some(lease.binding.access().within(lease.bytes_max))
    }

    /// Ends the leases that have run out, and returns when the next one will.
    pub(super) fn end_leases(&self, now_ns: u64) -> Option<u64> {
        let ended: Vec<_> = self
            .leases
            .borrow_mut()
            .0
            .extract_if(|_, lease| lease.ends_ns <= now_ns)
            .collect();
        for (_, lease) in ended {
            self.unbind(lease.binding);
        }
        self.leases
            .borrow()
            .0
            .values()
            .map(|lease| lease.ends_ns)
            .min()
    }

    fn ask(
        &self,
        request: OtherRequest,
    ) -> impl Future<Output = Result<Reply, Refused>> + 'static + use<> {
        let others = self.others.get().cloned();
        async move {
            match others {
                Some(others) => others.ask(request).await,
                None => Err(Refused {
                    code: Code::StateNotFound,
                    detail: format!("state {} belongs to another shard", request.state),
                }),
            }
        }
    }

    /// An operation of a task on another shard's state. The future may be moved between threads, as
    /// wasmtime asks; the exchange itself is a task of this executor.
    pub(crate) fn call_other(
        &self,
        place: Place,
        call: Call,
    ) -> impl Future<Output = Result<Reply, Refused>> + Send + 'static + use<> {
        let (sender, receiver) = oneshot::channel();
        let answer = self.ask(place.request(What::Call(call)));
        rt::spawn(async move {
            // Nobody waits when the task was stopped meanwhile.
            let _ = sender.send(answer.await);
        });
        async move { receiver.await.unwrap_or_else(|_| Err(no_answer())) }
    }
}

/// A state of another shard, as one task is bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    task: TaskId,
    state: StateId,
    binding: u64,
}

impl Place {
    fn request(self, what: What) -> OtherRequest {
        let Self {
            task,
            state,
            binding,
        } = self;
        OtherRequest {
            task,
            state,
            binding,
            what,
        }
    }
}

/// Keeps a lease as long as it exists. Dropped, it gives the binding up as one that was not used.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    place: Place,
    ended: oneshot::Sender<()>,
}

impl LeaseKeeper {
    /// Binds a state of another shard for a task.
    pub(super) async fn bind(
        states: &Rc<SharedStates>,
        task: TaskId,
        state: StateId,
        mode: Mode,
        bytes_max: u64,
    ) -> Result<Self, Refused> {
        let place = Place {
            task,
            state,
            binding: states.next_lease(),
        };
        let bind = move || place.request(What::Bind { mode, bytes_max });
        let (ended, until_ended) = oneshot::channel();
        let (answer, bound) = oneshot::channel();
        let states = Rc::clone(states);
        // A task of its own from the first request on: whoever waits for the binding may go away.
        rt::spawn(async move {
            let asked = Instant::now();
            let first = states.ask(bind()).await;
            let refusal = first.as_ref().err().map(|refused| refused.code);
            let _ = answer.send(first.map(drop));
            let was_used = match refusal {
                None => match renew(&states, bind, asked, until_ended).await {
                    Ok(was_used) => was_used,
                    Err(error) => {
                        tracing::warn!(%task, %state, %error, "a binding to another shard's state is lost");
                        return;
                    }
                },
                // It may be bound all the same.
                Some(Code::StateUnreachable) => false,
                Some(_) => return,
            };
            // Not reached, the other shard ends the lease in time.
            let _ = states.ask(place.request(What::Unbind { was_used })).await;
        });
        bound.await.unwrap_or_else(|_| Err(no_answer()))?;
        Ok(Self { place, ended })
    }

    /// The task has ended.
    pub(super) fn end(self) {
        // Gone when the binding was lost before.
        let _ = self.ended.send(());
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}

/// Renews a lease until its keeper ends, and says whether its task had it or never was. A shard that does not answer is
/// asked again until the lease would have ended.
async fn renew(
    states: &SharedStates,
    bind: impl Fn() -> OtherRequest,
    mut renewed: Instant,
    mut until_ended: oneshot::Receiver<()>,
) -> Result<bool, Refused> {
    let mut wait = RENEWAL;
    loop {
        if let Ok(ended) = rt::timeout(wait, &mut until_ended).await {
            return Ok(ended.is_ok());
        }
        let asked = Instant::now();
        match states.ask(bind()).await {
            Ok(_) => (renewed, wait) = (asked, RENEWAL),
            Err(refused) if refused.code == Code::StateUnreachable && renewed.elapsed() < LEASE => {
                wait = RENEWAL_RETRY;
            }
            Err(refused) => return Err(refused),
        }
    }
}

fn no_answer() -> Refused {
    Refused {
        code: Code::Internal,
        detail: "the exchange with the other shard ended without an answer".into(),
    }
}

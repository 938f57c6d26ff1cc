//! States of another shard, which is asked over a wire that can be cut.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use vyr_core::artifact::{Manifest, StateDeclaration};
use vyr_core::id::TaskId;
use vyr_core::limits::TaskLimits;
use vyr_core::problem::Code;
use vyr_core::state::Binding as Wanted;

use super::*;
use crate::rt::{self, ExecutorConfig, ExecutorKind};

const NEAR: ShardNumber = ShardNumber(0);
const FAR: ShardNumber = ShardNumber(1);

struct Wire {
    far: RefCell<Rc<SharedStates>>,
    /// How often binding was asked for.
    binds: Cell<u32>,
    /// Answers that do not arrive from now on.
    lost_answers: Cell<u32>,
}

impl OtherShards for Wire {
    fn ask(&self, request: OtherRequest) -> Pin<Box<dyn Future<Output = Result<Reply, Refused>>>> {
        let is_bind = matches!(request.what, What::Bind { .. });
        self.binds.set(self.binds.get() + u32::from(is_bind));
        let id = request.state;
        let mut answer = self.far.borrow().answer_other(request);
        if self.lost_answers.get() > 0 {
            self.lost_answers.set(self.lost_answers.get() - 1);
            let reason = "cut".into();
            answer = Err(StateError::Unreachable { id, reason }.into());
        }
        Box::pin(async move { answer })
    }
}

fn shared(shard: ShardNumber, life: u16) -> Rc<SharedStates> {
    let life = ShardLife(life);
    let secret = Secret::new([7; 192]);
    let states = States::new(shard, life, &ShardLimits::default(), secret);
    SharedStates::new(shard, states, StateIdSource::new(shard, life, 7))
}

/// Tests with the near shard's states, the wire, and a state of the far shard without linger.
fn with_far_state(test: impl AsyncFn(Rc<SharedStates>, Rc<Wire>, StateId)) {
    let config = ExecutorConfig {
        kind: ExecutorKind::Epoll,
        cpu: None,
        name: "test".into(),
    };
    let run = rt::run(&config, || async {
        let (near, far) = (shared(NEAR, 0), shared(FAR, 0));
        let state = far.create(StateLimits::DEFAULT).expect("room").id;
        let wire = Rc::new(Wire {
            far: RefCell::new(far),
            binds: Cell::default(),
            lost_answers: Cell::default(),
        });
        near.set_others(Rc::clone(&wire) as Rc<dyn OtherShards>);
        test(near, wire, state).await;
    });
    run.expect("the executor runs");
}

async fn bind(
    near: &Rc<SharedStates>,
    state: StateId,
    bindings: &[(&str, Mode)],
) -> Result<TaskBindings, Refused> {
    let manifest = Manifest {
        state: bindings
            .iter()
            .map(|(name, _)| StateDeclaration {
                name: (*name).into(),
                mode: Mode::Rw,
            })
            .collect(),
        ..Manifest::default()
    };
    let mut bound = TaskBindings::new(Rc::clone(near), &TaskLimits::DEFAULT);
    for &(name, mode) in bindings {
        let wanted = Wanted {
            state,
            name: name.into(),
            mode,
        };
        bound.bind(TaskId::from_bits(1), wanted, &manifest).await?;
    }
    Ok(bound)
}

async fn set(near: &SharedStates, bound: &TaskBindings, at: usize) -> Result<Reply, Refused> {
    let (_, Bound::Other(place)) = bound.bound()[at] else {
        panic!("the state is far");
    };
    let (key, value) = ("key".into(), b"value".to_vec());
    near.call_other(place, Call::Set { key, value }).await
}

fn code(result: Result<Reply, Refused>) -> Option<Code> {
    result.err().map(|refused| refused.code)
}

#[test]
fn each_binding_to_one_state_has_its_own_mode_and_end() {
    with_far_state(async |near, wire, state| {
        let both = [("write", Mode::Rw), ("read", Mode::Ro)];
        let bound = bind(&near, state, &both).await.expect("alive");
        assert_eq!(code(set(&near, &bound, 0).await), None);
        assert_eq!(code(set(&near, &bound, 1).await), Some(Code::StateReadOnly));
        let bindings = async || {
            rt::sleep(Duration::from_millis(10)).await;
            let state = wire.far.borrow().describe(state).expect("alive");
            state.bindings
        };
        // Refused after it was bound, as when its name was taken meanwhile.
        let third = bind(&near, state, &both[1..]).await.expect("alive");
        assert_eq!(bindings().await, 3);
        drop(third);
        assert_eq!(bindings().await, 2);
        assert_eq!(code(set(&near, &bound, 0).await), None);
        drop(bound.accepted());
        rt::sleep(Duration::from_millis(10)).await;
        let gone = wire
            .far
            .borrow()
            .describe(state)
            .map_err(|error| error.code());
        assert_eq!(gone, Err(Code::StateNotFound));
    });
}

#[test]
fn what_a_restarted_shard_had_is_lost_and_not_unknown() {
    with_far_state(async |near, wire, state| {
        let bound = bind(&near, state, &[("write", Mode::Rw)])
            .await
            .expect("alive");
        wire.far.replace(shared(FAR, 1));
        assert_eq!(code(set(&near, &bound, 0).await), Some(Code::StateLost));
    });
}

#[test]
fn a_binding_whose_answer_is_lost_leaves_the_state_as_it_was() {
    with_far_state(async |near, wire, state| {
        wire.lost_answers.set(1);
        let refused = bind(&near, state, &[("write", Mode::Rw)]).await;
        let code = refused.map(drop).expect_err("no answer").code;
        assert_eq!(code, Code::StateUnreachable);
        rt::sleep(Duration::from_millis(10)).await;
        let left = wire.far.borrow().describe(state).expect("alive");
        assert_eq!(left.bindings, 0);
        assert!(left.expires_in_ms > Some(30_000), "{left:?}");
    });
}

#[test]
fn a_renewal_that_fails_is_tried_again() {
    with_far_state(async |near, wire, state| {
        let bound = bind(&near, state, &[("write", Mode::Rw)])
            .await
            .expect("alive");
        wire.lost_answers.set(2);
        let asked = async {
            while wire.binds.get() < 4 {
                rt::sleep(Duration::from_millis(10)).await;
            }
        };
        let asked = rt::timeout(Duration::from_secs(20), asked).await;
        asked.expect("two renewals fail, the next one does not");
        drop(bound.accepted());
    });
}

//! The state kernel against models of it, at its bounds, and under changes while it is listed.

mod bounds;
mod growth;
mod keys_model;
mod leases;
mod lifetime;
mod lifetime_model;

use std::time::{Duration, UNIX_EPOCH};

use vyr_core::id::{ShardLife, ShardNumber, StateId, StateIdSource, split_mix};
use vyr_core::limits::{ShardLimits, StateLimits};
use vyr_core::state::Mode;

use super::*;

const SECOND_NS: u64 = 1_000_000_000;

/// States of shard 2 in its life 1, and ids for them.
struct Fixture {
    states: States,
    ids: StateIdSource,
}

impl Fixture {
    fn new(limits: ShardLimits) -> Self {
        let mut random = 7;
        let secret = Secret::new(std::array::from_fn(|_| split_mix(&mut random) as u8));
        Self::with_secret(limits, secret)
    }

    fn with_secret(limits: ShardLimits, secret: Secret) -> Self {
        Self {
            states: States::new(ShardNumber(2), ShardLife(1), &limits, secret),
            ids: StateIdSource::new(ShardNumber(2), ShardLife(1), 7),
        }
    }

    fn id(&mut self) -> StateId {
        self.ids.next(UNIX_EPOCH + Duration::from_secs(1))
    }

    fn create(&mut self, limits: StateLimits, now_ns: u64) -> StateId {
        let id = self.id();
        self.states.create(id, limits, now_ns).expect("room");
        id
    }

    /// A new state with access to it.
    fn access(&mut self, limits: StateLimits) -> Access {
        let id = self.create(limits, 0);
        self.states.open(id, Mode::Rw, 0).expect("just made")
    }

    fn free_all(&mut self, now_ns: u64) -> usize {
        let mut steps = 1;
        let step = vyr_core::limits::STATE_FREE_STEP_BYTES;
        while self
            .states
            .free_some(now_ns, step)
            .is_some_and(|at| at <= now_ns)
        {
            steps += 1;
        }
        steps
    }
}

/// Every key, from the first page to the last.
fn all_keys(states: &States, access: Access) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = states.list_keys(access, cursor).expect("state");
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return keys;
        }
    }
}

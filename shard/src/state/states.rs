//! The states of one shard, and how long each of them lives.
//!
//! A state lives while it has bindings and `linger` after the last one has ended, or until it is
//! deleted. One that was never bound waits for its first binding for the longer of `linger` and
//! [`STATE_UNBOUND_MS_MAX`]. When its time is over nobody finds it any more; its memory is given
//! back in steps by [`States::free_some`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::UNIX_EPOCH;

use vyr_core::id::{ShardLife, ShardNumber, StateId};
use vyr_core::limits::{STATE_FREE_STEP_BYTES, STATE_UNBOUND_MS_MAX, ShardLimits, StateLimits};
use vyr_core::state::{self, Class, Mode};

use super::error::StateError;
use super::hash::Secret;
use super::table::Table;

/// States that one call takes out because their time is over; each costs about a microsecond.
const EXPIRED_PER_STEP_MAX: usize = 64;

/// The states of one shard.
pub struct States {
    shard: ShardNumber,
    life: ShardLife,
    secret: Secret,
    states_max: usize,
    pub(super) keys_max: u64,
    pub(super) bytes_max: u64,
    slots: Vec<Option<State>>,
    free_slots: Vec<u32>,
    ids: BTreeMap<StateId, u32>,
    /// States without bindings, by the time at which they end.
    expiries: BTreeSet<(u64, StateId)>,
    /// Tables of states that have ended.
    ended: VecDeque<Table>,
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// One state.
pub(super) struct State {
    id: StateId,
    pub(super) limits: StateLimits,
    pub(super) table: Table,
    /// Writes so far; each makes the version of what it wrote.
    pub(super) writes: u64,
    bindings: u32,
    /// When it ends, if it is not bound.
    expires_ns: Option<u64>,
    /// When it would have ended if it were not bound, while no binding since then was used.
    unused_expires_ns: Option<u64>,
}

/// What reaches the keys of one state. It stays valid, but finds nothing once the state has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    slot: u32,
    id: StateId,
    mode: Mode,
    /// Bytes that writes through it may let the state grow to, besides the state's own bound.
    pub(super) bytes_max: u64,
}

impl Access {
    /// The state.
    #[must_use]
    pub fn id(&self) -> StateId {
        self.id
    }

    /// What it allows.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The same, for who may let the state grow to `bytes_max` only.
    #[must_use]
    pub fn within(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }
}

/// Keeps a state alive until it is given back with [`States::unbind`] or [`States::give_up`].
#[derive(Debug)]
#[must_use = "a binding that is not given back keeps its state until it is deleted"]
pub struct Binding(Access);

impl Binding {
    /// What reaches the keys.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0
    }
}

/// What the states of a shard use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// States that exist.
    pub states: usize,
    /// Keys that are held or not freed yet.
    pub keys: u64,
    /// Bytes that are held or not freed yet, as the bounds count them.
    pub bytes: u64,
    /// States that have ended and are not freed yet.
    pub freeing: usize,
}

impl States {
    /// No states, for one life of one shard.
    #[must_use]
    pub fn new(shard: ShardNumber, life: ShardLife, limits: &ShardLimits, secret: Secret) -> Self {
        Self {
            shard,
            life,
            secret,
            states_max: limits.states_max,
            keys_max: limits.state_keys_max,
            bytes_max: limits.state_bytes_max,
            slots: Vec::new(),
            free_slots: Vec::new(),
            ids: BTreeMap::new(),
            expiries: BTreeSet::new(),
            ended: VecDeque::new(),
            keys: 0,
            bytes: 0,
        }
    }

    /// Creates an empty state under a new id.
    ///
    /// # Errors
    /// [`StateError::Exhausted`].
    pub fn create(
        &mut self,
        id: StateId,
        limits: StateLimits,
        now_ns: u64,
    ) -> Result<(), StateError> {
        if self.ids.len() + self.ended.len() >= self.states_max {
            // Whoever needs the room helps to make it.
            self.free_some(now_ns, STATE_FREE_STEP_BYTES);
        }
        if self.ids.len() + self.ended.len() >= self.states_max {
            return Err(StateError::Exhausted {
                max: self.states_max,
            });
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("states_max is checked above")
        });
        let replaced = self.ids.insert(id, slot);
        debug_assert_eq!(replaced, None, "ids are used once");
        let wait_ms = limits.linger_ms.max(STATE_UNBOUND_MS_MAX);
        let expires_ns = after(now_ns, wait_ms);
        self.expiries.insert((expires_ns, id));
        self.slots[slot as usize] = Some(State {
            id,
            limits,
            table: Table::new(self.secret.clone()),
            writes: 0,
            bindings: 0,
            expires_ns: Some(expires_ns),
            unused_expires_ns: None,
        });
        Ok(())
    }

    /// Binds a state, which then lives until the binding is given back.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn bind(&mut self, id: StateId, mode: Mode, now_ns: u64) -> Result<Binding, StateError> {
        let access = self.open(id, mode, now_ns)?;
        let state = self.state_mut(access)?;
        state.bindings += 1;
        if let Some(expires_ns) = state.expires_ns.take() {
            state.unused_expires_ns = Some(expires_ns);
            self.expiries.remove(&(expires_ns, id));
        }
        Ok(Binding(access))
    }

    /// Gives a binding back that a task had. The state's linger begins with the end of its last one.
    pub fn unbind(&mut self, binding: Binding, now_ns: u64) {
        let Binding(access) = binding;
        // A state that was deleted while it was bound is gone already.
        let Ok(state) = self.state_mut(access) else {
            return;
        };
        state.unused_expires_ns = None;
        self.release(access, now_ns);
    }

    /// Gives a binding back whose task was refused. The state lives as long as it would have without.
    pub fn give_up(&mut self, binding: Binding, now_ns: u64) {
        let Binding(access) = binding;
        self.release(access, now_ns);
    }

    fn release(&mut self, access: Access, now_ns: u64) {
        let Ok(state) = self.state_mut(access) else {
            return;
        };
        state.bindings -= 1;
        if state.bindings > 0 {
            return;
        }
        let linger_ms = state.limits.linger_ms;
        let expires_ns = match state.unused_expires_ns.take() {
            Some(expires_ns) => expires_ns,
            None if linger_ms == 0 => return self.end(access.id),
            None => after(now_ns, linger_ms),
        };
        state.expires_ns = Some(expires_ns);
        self.expiries.insert((expires_ns, access.id));
    }

    /// Access without a binding, for a client that knows the id. It does not keep the state alive, so
    /// it is for the turn in which it was opened.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn open(&self, id: StateId, mode: Mode, now_ns: u64) -> Result<Access, StateError> {
        let slot = match self.ids.get(&id) {
            Some(&slot) if self.is_alive(slot, now_ns) => slot,
            None if id.shard() == self.shard && id.life() < self.life => {
                return Err(StateError::Lost { id });
            }
            _ => return Err(StateError::NotFound { id }),
        };
        Ok(Access {
            slot,
            id,
            mode,
            bytes_max: u64::MAX,
        })
    }

    /// Deletes a state, bound or not. Who is bound to it finds it gone.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn delete_state(&mut self, id: StateId, now_ns: u64) -> Result<(), StateError> {
        self.open(id, Mode::Rw, now_ns)?;
        self.end(id);
        Ok(())
    }

    /// A state as clients see it.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Lost`].
    pub fn describe(&self, id: StateId, now_ns: u64) -> Result<state::State, StateError> {
        let access = self.open(id, Mode::Ro, now_ns)?;
        Ok(self.state(access)?.describe(now_ns))
    }

    /// States, newest first: at most `rows_max`, older than `before` if given.
    #[must_use]
    pub fn list(&self, before: Option<StateId>, rows_max: usize, now_ns: u64) -> Vec<state::State> {
        let older = match before {
            Some(before) => self.ids.range(..before),
            None => self.ids.range(..),
        };
        older
            .rev()
            .filter(|&(_, &slot)| self.is_alive(slot, now_ns))
            .filter_map(|(_, &slot)| self.slots[slot as usize].as_ref())
            .take(rows_max)
            .map(|state| state.describe(now_ns))
            .collect()
    }

    /// Does one bounded step of what is left to do: ends states whose time is over, and frees about
    /// `budget_bytes` of those that have ended. Returns when to call again: a time that is not after
    /// `now_ns` if there is more to do, `None` if nothing is left and nothing will come by itself.
    pub fn free_some(&mut self, now_ns: u64, budget_bytes: u64) -> Option<u64> {
        for _ in 0..EXPIRED_PER_STEP_MAX {
            match self.expiries.first() {
                Some(&(expires_ns, id)) if expires_ns <= now_ns => self.end(id),
                _ => break,
            }
        }
        self.free_ended(budget_bytes);
        if self.ended.is_empty() {
            self.expiries.first().map(|&(expires_ns, _)| expires_ns)
        } else {
            Some(now_ns)
        }
    }

    /// What the states use now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            states: self.ids.len(),
            keys: self.keys,
            bytes: self.bytes,
            freeing: self.ended.len(),
        }
    }

    pub(super) fn free_ended(&mut self, budget_bytes: u64) {
        if let Some(table) = self.ended.front_mut() {
            let freed = table.free_some(budget_bytes);
            self.keys -= freed.keys;
            self.bytes -= freed.counted_bytes;
            if table.is_freed() {
                self.ended.pop_front();
            }
        }
    }

    pub(super) fn state(&self, access: Access) -> Result<&State, StateError> {
        self.slots
            .get(access.slot as usize)
            .and_then(Option::as_ref)
            .filter(|state| state.id == access.id)
            .ok_or(StateError::NotFound { id: access.id })
    }

    pub(super) fn state_mut(&mut self, access: Access) -> Result<&mut State, StateError> {
        self.slots
            .get_mut(access.slot as usize)
            .and_then(Option::as_mut)
            .filter(|state| state.id == access.id)
            .ok_or(StateError::NotFound { id: access.id })
    }

    fn is_alive(&self, slot: u32, now_ns: u64) -> bool {
        let state = &self.slots[slot as usize];
        state.as_ref().is_some_and(|state| {
            state
                .expires_ns
                .is_none_or(|expires_ns| now_ns < expires_ns)
        })
    }

    fn end(&mut self, id: StateId) {
        let Some(slot) = self.ids.remove(&id) else {
            return;
        };
        if let Some(state) = self.slots[slot as usize].take() {
            if let Some(expires_ns) = state.expires_ns {
                self.expiries.remove(&(expires_ns, id));
            }
            self.ended.push_back(state.table);
        }
        self.free_slots.push(slot);
    }
}

impl State {
    fn describe(&self, now_ns: u64) -> state::State {
        let created = self.id.created_at().duration_since(UNIX_EPOCH);
        state::State {
            id: self.id,
            class: Class::Ephemeral,
            shard: self.id.shard(),
            created_ms: u64::try_from(created.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            linger_ms: self.limits.linger_ms,
            expires_in_ms: self
                .expires_ns
                .map(|expires_ns| expires_ns.saturating_sub(now_ns) / 1_000_000),
            bindings: self.bindings,
            keys: self.table.keys(),
            keys_max: self.limits.keys_max,
            bytes: self.table.counted_bytes(),
            bytes_max: self.limits.bytes_max,
        }
    }
}

fn after(now_ns: u64, wait_ms: u64) -> u64 {
    now_ns.saturating_add(wait_ms.saturating_mul(1_000_000))
}

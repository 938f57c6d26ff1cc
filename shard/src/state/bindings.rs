//! The states that one task is bound to, under the names its guest opens.

use std::rc::Rc;

use vyr_core::artifact::Manifest;
use vyr_core::id::TaskId;
use vyr_core::limits::{STATE_BINDINGS_MAX, TaskLimits};
use vyr_core::state::{Binding as Wanted, Mode};

use super::call::Refused;
use super::error::StateError;
use super::other::{LeaseKeeper, Place};
use super::shared::SharedStates;
use super::states::{Access, Binding};

/// The bindings of one task; dropped, they are given back.
pub(crate) struct TaskBindings {
    states: Rc<SharedStates>,
    /// Whether the task exists. The bindings of one that was refused were of no use to anybody.
    is_accepted: bool,
    /// Bytes that the task may let a state grow to.
    bytes_max: u64,
    bindings: Vec<TaskBinding>,
}

struct TaskBinding {
    wanted: Wanted,
    held: Held,
}

enum Held {
    Own(Binding),
    Other(LeaseKeeper),
}

/// What a guest reaches a state through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A state of this shard.
    Own(Access),
    /// A state of another one.
    Other(Place),
}

impl TaskBindings {
    pub(crate) fn new(states: Rc<SharedStates>, limits: &TaskLimits) -> Self {
        Self {
            states,
            is_accepted: false,
            bytes_max: limits.state_bytes_max,
            bindings: Vec::new(),
        }
    }

    /// The bindings of a task that is accepted: its states' time counts from its end.
    pub(crate) fn accepted(self) -> Self {
        let mut accepted = self;
        accepted.is_accepted = true;
        accepted
    }

    /// Whether the task may be bound so: its artifact declares the names, and they are free.
    ///
    /// # Errors
    /// [`StateError::NameUndeclared`], [`StateError::NameTaken`], [`StateError::TooManyBindings`].
    pub(crate) fn check(&self, wanted: &[Wanted], manifest: &Manifest) -> Result<(), StateError> {
        if self.bindings.len() + wanted.len() > STATE_BINDINGS_MAX {
            return Err(StateError::TooManyBindings);
        }
        let bound = self.bindings.iter().map(|binding| &binding.wanted);
        for (at, Wanted { name, .. }) in wanted.iter().enumerate() {
            if !manifest.state.iter().any(|state| state.name == *name) {
                return Err(StateError::NameUndeclared { name: name.clone() });
            }
            let mut taken = bound.clone().chain(&wanted[..at]);
            if taken.any(|other| other.name == *name) {
                return Err(StateError::NameTaken { name: name.clone() });
            }
        }
        Ok(())
    }

    /// Binds a state, under a name that was checked.
    ///
    /// # Errors
    /// When there is no such state, or its shard cannot be reached.
    pub(crate) async fn bind(
        &mut self,
        task: TaskId,
        mut wanted: Wanted,
        manifest: &Manifest,
    ) -> Result<(), Refused> {
        let declared = manifest
            .state
            .iter()
            .find(|state| state.name == wanted.name);
        if declared.is_some_and(|state| state.mode == Mode::Ro) {
            wanted.mode = Mode::Ro;
        }
        let bytes_max = self.bytes_max;
        let held = if wanted.state.shard() == self.states.shard() {
            Held::Own(self.states.bind(wanted.state, wanted.mode)?)
        } else {
            let keeper =
                LeaseKeeper::bind(&self.states, task, wanted.state, wanted.mode, bytes_max).await?;
            Held::Other(keeper)
        };
        self.bindings.push(TaskBinding { wanted, held });
        Ok(())
    }

    /// Takes over the bindings of another set.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.bindings.append(&mut other.bindings);
    }

    /// What the guest may open.
    pub(crate) fn bound(&self) -> Vec<(String, Bound)> {
        let bound = |held: &Held| match held {
            Held::Own(binding) => Bound::Own(binding.access().within(self.bytes_max)),
            Held::Other(keeper) => Bound::Other(keeper.place()),
        };
        self.bindings
            .iter()
            .map(|binding| (binding.wanted.name.clone(), bound(&binding.held)))
            .collect()
    }

    /// The bindings as clients see them.
    pub(crate) fn describe(&self) -> Vec<Wanted> {
        self.bindings
            .iter()
            .map(|binding| binding.wanted.clone())
            .collect()
    }

    /// Gives every binding back.
    pub(crate) fn release(&mut self) {
        for binding in self.bindings.drain(..) {
            match binding.held {
                Held::Own(binding) if self.is_accepted => self.states.unbind(binding),
                Held::Own(binding) => self.states.give_up(binding),
                Held::Other(keeper) if self.is_accepted => keeper.end(),
                // Dropped, it gives up.
                Held::Other(_) => {}
            }
        }
    }
}

impl Drop for TaskBindings {
    fn drop(&mut self) {
        self.release();
    }
}

impl std::fmt::Debug for TaskBindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.describe()).finish()
    }
}

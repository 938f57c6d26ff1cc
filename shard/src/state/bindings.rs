//! The states that one task is bound to, under the names its guest opens.

use vyr_core::id::StateId;
use vyr_core::limits::STATE_BINDINGS_MAX;
use vyr_core::state::Mode;

use super::error::StateError;
use super::states::{Access, Binding, States};

/// The bindings of one task. They are made at submission or while the task is queued, and must be
/// given back with [`TaskBindings::release`] when it ends.
#[derive(Debug, Default)]
pub struct TaskBindings(Vec<(String, Binding)>);

impl TaskBindings {
    /// Binds a state under a name.
    ///
    /// # Errors
    /// [`StateError::NameTaken`], [`StateError::TooManyBindings`], and as [`States::bind`].
    pub fn bind(
        &mut self,
        states: &mut States,
        name: &str,
        (id, mode): (StateId, Mode),
        now_ns: u64,
    ) -> Result<(), StateError> {
        if self.open(name).is_some() {
            return Err(StateError::NameTaken { name: name.into() });
        }
        if self.0.len() >= STATE_BINDINGS_MAX {
            return Err(StateError::TooManyBindings);
        }
        let binding = states.bind(id, mode, now_ns)?;
        self.0.push((name.into(), binding));
        Ok(())
    }

    /// What the guest gets when it opens a name; `None` for what it is not bound to.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<Access> {
        let (_, binding) = self.0.iter().find(|(bound, _)| bound == name)?;
        Some(binding.access())
    }

    /// Gives every binding back.
    pub fn release(&mut self, states: &mut States, now_ns: u64) {
        for (_, binding) in self.0.drain(..) {
            states.unbind(binding, now_ns);
        }
    }
}

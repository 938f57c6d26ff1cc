//! What a command task is submitted with, and which submissions were there before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use vyr_core::digest::Digest;
use vyr_core::id::TaskId;
use vyr_core::limits::ARGUMENTS_BYTES_MAX;
use vyr_core::state::Binding;

use crate::artifact::Loaded;
use crate::error::Error;
use crate::guest::Pipe;
use crate::steps::Arrival;

/// A command task to be.
pub struct Submit {
    /// The artifact to run.
    pub artifact: Digest,
    /// Arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Settings that change those of the artifact's manifest.
    pub config: Vec<(String, String)>,
    /// Wall-time limit that the client asks for, milliseconds.
    pub wall_ms_max: Option<u64>,
    /// Its standard input.
    pub input: Arc<Pipe>,
    /// Whether its output is streamed instead of kept.
    pub stream_output: bool,
    /// States to bind it to.
    pub bindings: Vec<Binding>,
    /// When and with which trace it came.
    pub arrival: Arrival,
    /// The client's idempotency key and a fingerprint of the request it stands for.
    pub idempotency: Option<(String, u64)>,
}

/// The tasks that were submitted with an idempotency key, within a bound, the oldest forgotten first.
/// A task itself is kept no longer for it.
pub(crate) struct Submissions {
    keys_max: usize,
    by_key: HashMap<String, (u64, TaskId)>,
    order: VecDeque<String>,
}

impl Submissions {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            keys_max,
            by_key: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The task that was submitted with this key.
    ///
    /// # Errors
    /// [`Error::IdempotencyConflict`] when it stood for another request.
    pub(crate) fn find(&self, key: &str, fingerprint: u64) -> Result<Option<TaskId>, Error> {
        match self.by_key.get(key) {
            None => Ok(None),
            Some((first, task)) if *first == fingerprint => Ok(Some(*task)),
            Some(_) => Err(Error::IdempotencyConflict),
        }
    }

    /// Remembers a task under a key, in place of one that may have been there.
    pub(crate) fn remember(&mut self, key: String, fingerprint: u64, task: TaskId) {
        if self
            .by_key
            .insert(key.clone(), (fingerprint, task))
            .is_some()
        {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }
}

pub(crate) fn check_arguments(submit: &Submit) -> Result<(), Error> {
    let arguments: usize = submit.arguments.iter().map(String::len).sum();
    let environment: usize = submit
        .environment
        .iter()
        .chain(&submit.config)
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let bytes = arguments + environment;
    if bytes > ARGUMENTS_BYTES_MAX {
        return Err(Error::RequestInvalid(format!(
            "arguments, environment and settings are {bytes} bytes, the bound is {ARGUMENTS_BYTES_MAX}; send data as input"
        )));
    }
    let has_nul = |text: &String| text.contains('\0');
    if submit.arguments.iter().any(has_nul)
        || submit
            .environment
            .iter()
            .any(|(name, value)| has_nul(name) || has_nul(value))
    {
        return Err(Error::RequestInvalid(
            "arguments and environment cannot hold NUL".into(),
        ));
    }
    if submit.wall_ms_max == Some(0) {
        return Err(Error::RequestInvalid(
            "timeout is 0; give at least 1 ms".into(),
        ));
    }
    Ok(())
}

/// A manifest that names environment variables admits only those.
pub(crate) fn check_environment(
    environment: &[(String, String)],
    loaded: &Loaded,
) -> Result<(), Error> {
    let declared = &loaded.manifest.capabilities.environment;
    for (name, _) in environment {
        if name.is_empty() || name.contains('=') {
            return Err(Error::RequestInvalid(format!(
                "'{name}' is not a name of an environment variable"
            )));
        }
        if !declared.is_empty() && !declared.contains(name) {
            return Err(Error::RequestInvalid(format!(
                "the artifact's manifest does not declare the environment variable '{name}'; it declares {}",
                declared.join(", ")
            )));
        }
    }
    Ok(())
}

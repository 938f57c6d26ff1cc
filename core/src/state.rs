//! What a state is to a client: keys and values that live as long as the tasks that need them.

use serde::{Deserialize, Serialize};

use crate::id::{ShardNumber, StateId};

/// The class of a state: what it promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// In the memory of one shard, for as long as tasks are bound to it; linearizable.
    #[default]
    Ephemeral,
}

impl Class {
    /// The class as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a binding allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Read and write.
    #[default]
    Rw,
    /// Read only.
    Ro,
}

impl Mode {
    /// The mode as clients see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rw => "rw",
            Self::Ro => "ro",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "rw" => Ok(Self::Rw),
            "ro" => Ok(Self::Ro),
            _ => Err(format!("'{text}' is not a mode; use rw or ro")),
        }
    }
}

/// That a task's guest opens a state under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The state.
    pub state: StateId,
    /// The name that the guest opens.
    pub name: String,
    /// What it allows; `rw` if absent.
    #[serde(default)]
    pub mode: Mode,
}

impl std::str::FromStr for Binding {
    type Err = String;

    /// Reads `STATE=NAME` or `STATE=NAME:ro`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || format!("'{text}' is not a binding; give STATE=NAME or STATE=NAME:ro");
        let (state, rest) = text.split_once('=').ok_or_else(form)?;
        let (name, mode) = match rest.rsplit_once(':') {
            Some((name, mode)) => (
                name,
                mode.parse()
                    .map_err(|error| format!("{}: {error}", form()))?,
            ),
            None => (rest, Mode::Rw),
        };
        let state = state
            .parse()
            .map_err(|error| format!("{}: {error}", form()))?;
        Ok(Self {
            state,
            name: name.to_owned(),
            mode,
        })
    }
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.state, self.name)?;
        match self.mode {
            Mode::Rw => Ok(()),
            Mode::Ro => f.write_str(":ro"),
        }
    }
}

/// A state as `GET /v0/states/{id}` shows it. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its id.
    pub id: StateId,
    /// What it promises.
    pub class: Class,
    /// The shard that owns it.
    pub shard: ShardNumber,
    /// When it was created, since the Unix epoch.
    pub created_ms: u64,
    /// How long it stays after its last binding.
    pub linger_ms: u64,
    /// How long it still stays if no task is bound to it; absent while one is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in_ms: Option<u64>,
    /// Bindings it has now.
    pub bindings: u32,
    /// Keys it holds.
    pub keys: u64,
    /// The most keys it may hold.
    pub keys_max: u64,
    /// Bytes it holds: keys, values and a fixed overhead for each key.
    pub bytes: u64,
    /// The most bytes it may hold.
    pub bytes_max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_read_from_the_command_line() {
        let id = crate::id::StateIdSource::new(ShardNumber(1), crate::id::ShardLife(0), 7)
            .next(std::time::UNIX_EPOCH);
        let read = |text: String| text.parse::<Binding>();
        let binding = |mode| Binding {
            state: id,
            name: "buffer".into(),
            mode,
        };
        assert_eq!(read(format!("{id}=buffer")), Ok(binding(Mode::Rw)));
        assert_eq!(read(format!("{id}=buffer:ro")), Ok(binding(Mode::Ro)));
        for text in ["", "buffer", "x=buffer", &format!("{id}=b:rx")] {
            let error = text.parse::<Binding>().expect_err(text);
            assert!(error.contains("STATE=NAME"), "{error}");
        }
    }

    #[test]
    fn a_mode_reads_as_it_is_written() {
        for mode in [Mode::Rw, Mode::Ro] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            let json = serde_json::to_string(&mode).expect("json");
            assert_eq!(json, format!("\"{mode}\""));
        }
        assert!("RW".parse::<Mode>().is_err());
    }
}

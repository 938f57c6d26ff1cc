//! An operation on a state as data, so that it can also be sent to the shard that owns the state.

use std::ops::RangeFrom;

use serde::{Deserialize, Serialize};
use vyr_core::problem::{Code, Problem};

use super::error::StateError;
use super::states::{Access, States};

/// One operation on the keys of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// [`Reply::Value`].
    Get {
        /// The key.
        key: String,
    },
    /// [`Reply::Version`].
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// [`Reply::Existed`].
    Delete {
        /// The key.
        key: String,
        /// The version it must have, if that matters; 0 if it must not exist.
        expected: Option<u64>,
    },
    /// [`Reply::Existed`].
    Exists {
        /// The key.
        key: String,
    },
    /// [`Reply::Keys`].
    ListKeys {
        /// Where the page before ended.
        cursor: Option<u64>,
    },
    /// [`Reply::Number`].
    Increment {
        /// The key.
        key: String,
        /// What is added.
        delta: i64,
        /// What the sum may be.
        sums: RangeFrom<i64>,
    },
    /// [`Reply::Version`].
    Swap {
        /// The key.
        key: String,
        /// The version it must have; 0 if it must not exist.
        expected: u64,
        /// Its new value.
        value: Vec<u8>,
    },
    /// [`Reply::Values`].
    GetMany {
        /// The keys.
        keys: Vec<String>,
    },
    /// [`Reply::Done`].
    SetMany {
        /// Keys and values.
        pairs: Vec<(String, Vec<u8>)>,
    },
    /// [`Reply::Done`].
    DeleteMany {
        /// The keys.
        keys: Vec<String>,
    },
}

impl Call {
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::Exists { .. }
            | Self::ListKeys { .. }
            | Self::GetMany { .. } => true,
            Self::Set { .. }
            | Self::Delete { .. }
            | Self::Increment { .. }
            | Self::Swap { .. }
            | Self::SetMany { .. }
            | Self::DeleteMany { .. } => false,
        }
    }
}

/// What a [`Call`] gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A value with its version, if the key exists.
    Value(Option<(Vec<u8>, u64)>),
    /// The version that was written.
    Version(u64),
    /// Whether the key existed.
    Existed(bool),
    /// Part of a listing.
    Keys {
        /// The keys.
        keys: Vec<String>,
        /// Where to go on; `None` at the end.
        cursor: Option<u64>,
    },
    /// The sum.
    Number(i64),
    /// A value for each key that exists.
    Values(Vec<Option<Vec<u8>>>),
    /// Nothing to tell.
    Done,
}

/// Each call has one kind of reply, and only shards of one program talk to each other.
const MISMATCH: &str = "a call is answered by its own kind of reply";

impl Reply {
    pub(crate) fn into_value(self) -> Option<(Vec<u8>, u64)> {
        match self {
            Self::Value(value) => value,
            _ => unreachable!("{MISMATCH}"),
        }
    }

    pub(crate) fn existed(self) -> bool {
        match self {
            Self::Existed(existed) => existed,
            _ => unreachable!("{MISMATCH}"),
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Number(number) => number,
            _ => unreachable!("{MISMATCH}"),
        }
    }

    pub(crate) fn into_keys(self) -> (Vec<String>, Option<u64>) {
        match self {
            Self::Keys { keys, cursor } => (keys, cursor),
            _ => unreachable!("{MISMATCH}"),
        }
    }

    pub(crate) fn into_values(self) -> Vec<Option<Vec<u8>>> {
        match self {
            Self::Values(values) => values,
            _ => unreachable!("{MISMATCH}"),
        }
    }
}

/// Why a [`Call`] was refused, wherever the state is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What happened and what to do.
    pub detail: String,
}

impl From<StateError> for Refused {
    fn from(error: StateError) -> Self {
        Self {
            code: error.code(),
            detail: error.to_string(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::new(refused.code, refused.detail)
    }
}

impl States {
    /// Does what a call says.
    ///
    /// # Errors
    /// As the operation that it stands for.
    pub fn call(&mut self, access: Access, call: Call) -> Result<Reply, StateError> {
        Ok(match call {
            Call::Get { key } => Reply::Value(
                self.get(access, &key)?
                    .map(|record| (record.value.to_vec(), record.version)),
            ),
            Call::Set { key, value } => Reply::Version(self.set(access, &key, &value)?),
            Call::Delete { key, expected } => Reply::Existed(match expected {
                None => self.delete(access, &key)?,
                Some(expected) => self.delete_version(access, &key, expected)?,
            }),
            Call::Exists { key } => Reply::Existed(self.exists(access, &key)?),
            Call::ListKeys { cursor } => {
                let page = self.list_keys(access, cursor)?;
                Reply::Keys {
                    keys: page.keys,
                    cursor: page.cursor,
                }
            }
            Call::Increment { key, delta, sums } => {
                Reply::Number(self.increment(access, &key, delta, sums)?)
            }
            Call::Swap {
                key,
                expected,
                value,
            } => Reply::Version(self.swap(access, &key, expected, &value)?),
            Call::GetMany { keys } => Reply::Values(
                self.get_many(access, &keys)?
                    .into_iter()
                    .map(|record| record.map(|record| record.value.to_vec()))
                    .collect(),
            ),
            Call::SetMany { pairs } => {
                self.set_many(access, &pairs)?;
                Reply::Done
            }
            Call::DeleteMany { keys } => {
                self.delete_many(access, &keys)?;
                Reply::Done
            }
        })
    }
}

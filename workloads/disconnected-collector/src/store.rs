//! What the collector needs of a key-value bucket: the part of `wasi:keyvalue` that it uses.
//!
//! `increment` is not among it: a call that was cut off may or may not have counted, and the new task
//! could not tell. `list-keys` is not either: all keys follow from the ledger.

use thiserror::Error;

/// A bucket. Calls of one task take effect one after the other.
///
/// Writing one key happens wholly or not at all. Writing or deleting many keys need not: of a call that
/// fails, or during which the task is killed, any part may have taken effect, in any order.
pub trait Store {
    /// The values of these keys, in their order.
    ///
    /// # Errors
    /// Those of the bucket.
    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Writes one key.
    ///
    /// # Errors
    /// [`StoreError::Other`] when the bucket is full, among other reasons.
    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Writes many keys.
    ///
    /// # Errors
    /// [`StoreError::Other`] when the bucket is full, among other reasons.
    fn set_many(&mut self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError>;

    /// Deletes many keys; those that are not there are passed over.
    ///
    /// # Errors
    /// Those of the bucket.
    fn delete_many(&mut self, keys: &[String]) -> Result<(), StoreError>;
}

/// Why a bucket does not do what it is asked for: the cases of `wasi:keyvalue`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The host does not know the bucket.
    #[error("no such store")]
    NoSuchStore,
    /// The task may not use the bucket.
    #[error("access denied")]
    AccessDenied,
    /// Anything else, a full bucket among it; in the host's words.
    #[error("{0}")]
    Other(String),
}

//! The bucket of `wasi:keyvalue`, as the library wants it.

use disconnected_collector::{Store, StoreError};

use crate::bindings::wasi::keyvalue0_2_0_draft::batch;
use crate::bindings::wasi::keyvalue0_2_0_draft::store::{self, Error};

/// An open bucket. It is opened once in a task: a host may give each opening a copy of its own.
pub(crate) struct Bucket(store::Bucket);

impl Bucket {
    pub(crate) fn open(name: &str) -> Result<Self, StoreError> {
        Ok(Self(store::open(name)?))
    }
}

impl Store for Bucket {
    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let found = batch::get_many(&self.0, keys)?;
        Ok(found.into_iter().map(|entry| entry.map(|(_, value)| value)).collect())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        Ok(self.0.set(key, value)?)
    }

    fn set_many(&mut self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        Ok(batch::set_many(&self.0, entries)?)
    }

    fn delete_many(&mut self, keys: &[String]) -> Result<(), StoreError> {
        Ok(batch::delete_many(&self.0, keys)?)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(text) => Self::Other(text),
        }
    }
}

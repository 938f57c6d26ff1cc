//! Reading and writing the keys of a state: the operations of `wasi:keyvalue`, drafts 0.2.0-draft
//! and 0.2.0-draft2. Each is one turn of the shard, so it happens at once for everyone else.

use std::borrow::Cow;
use std::ops::RangeFrom;

use vyr_core::limits::{
    STATE_BATCH_BYTES_MAX, STATE_BATCH_KEYS_MAX, STATE_FREE_STEP_BYTES, STATE_KEY_BYTES_MAX,
    STATE_PAGE_KEYS_MAX, STATE_VALUE_BYTES_MAX,
};
use vyr_core::state::Mode;

use super::error::StateError;
use super::segment::{Record, counted_bytes};
use super::states::{Access, States};
use super::table::SegmentFull;

/// Part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Keys, in no order that means anything. There may be none although more follow.
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<u64>,
}

impl States {
    /// The value of a key with its version, in place.
    ///
    /// # Errors
    /// [`StateError::NotFound`] for the state; a key that is too long does not exist.
    pub fn get(&self, access: Access, key: &str) -> Result<Option<Record<'_>>, StateError> {
        let table = &self.state(access)?.table;
        Ok(table.get(table.find(key.as_bytes())))
    }

    /// Whether a key exists.
    ///
    /// # Errors
    /// As [`States::get`].
    pub fn exists(&self, access: Access, key: &str) -> Result<bool, StateError> {
        Ok(self.get(access, key)?.is_some())
    }

    /// Writes a key and returns its version, which no earlier or later write in this state has.
    ///
    /// # Errors
    /// [`StateError::NotFound`] for the state, [`StateError::ReadOnly`], [`StateError::KeyTooLarge`],
    /// [`StateError::ValueTooLarge`], [`StateError::Full`].
    pub fn set(&mut self, access: Access, key: &str, value: &[u8]) -> Result<u64, StateError> {
        self.write(access, key, |_| Ok(Cow::Borrowed(value)))
    }

    /// Deletes a key and returns whether it existed.
    ///
    /// # Errors
    /// [`StateError::NotFound`] for the state, [`StateError::ReadOnly`].
    pub fn delete(&mut self, access: Access, key: &str) -> Result<bool, StateError> {
        self.remove(access, key, |_| Ok(()))
    }

    /// Deletes a key if it is at version `expected`, 0 standing for a key that does not exist.
    ///
    /// # Errors
    /// As [`States::delete`], and [`StateError::VersionConflict`].
    pub fn delete_version(
        &mut self,
        access: Access,
        key: &str,
        expected: u64,
    ) -> Result<bool, StateError> {
        self.remove(access, key, |old| check_version(old, expected))
    }

    /// Keys from a cursor on, at most about [`STATE_PAGE_KEYS_MAX`]; without a cursor from the
    /// beginning. A key that exists from the first page to the last is returned exactly once, and
    /// no key twice, whatever is written meanwhile.
    ///
    /// # Errors
    /// [`StateError::NotFound`] for the state. A cursor that no page gave is no error.
    pub fn list_keys(&self, access: Access, cursor: Option<u64>) -> Result<Page, StateError> {
        let table = &self.state(access)?.table;
        let mut page = Page {
            keys: Vec::new(),
            cursor: None,
        };
        if let Ok(from) = u32::try_from(cursor.unwrap_or(0)) {
            let next = table.visit(from, STATE_PAGE_KEYS_MAX, |key| {
                page.keys.push(String::from_utf8_lossy(key).into_owned());
            });
            page.cursor = next.map(u64::from);
        }
        Ok(page)
    }

    /// Adds to a decimal number, 0 if the key does not exist, and returns the sum, which must be one of `sums`.
    ///
    /// # Errors
    /// As [`States::set`], and [`StateError::NotCounter`], [`StateError::CounterOverflow`].
    pub fn increment(
        &mut self,
        access: Access,
        key: &str,
        delta: i64,
        sums: RangeFrom<i64>,
    ) -> Result<i64, StateError> {
        let mut sum = 0;
        self.write(access, key, |old| {
            let number = old.map_or(Ok(0), |record| number(record.value))?;
            sum = number
                .checked_add(delta)
                .filter(|sum| sums.contains(sum))
                .ok_or(StateError::CounterOverflow { least: sums.start })?;
            Ok(Cow::Owned(sum.to_string().into_bytes()))
        })?;
        Ok(sum)
    }

    /// Writes a key if it is still at version `expected`, 0 standing for a key that does not exist,
    /// and returns its new version.
    ///
    /// # Errors
    /// As [`States::set`], and [`StateError::VersionConflict`].
    pub fn swap(
        &mut self,
        access: Access,
        key: &str,
        expected: u64,
        value: &[u8],
    ) -> Result<u64, StateError> {
        self.write(access, key, |old| {
            check_version(old, expected)?;
            Ok(Cow::Borrowed(value))
        })
    }

    /// The values of several keys at one moment.
    ///
    /// # Errors
    /// As [`States::get`], and [`StateError::BatchTooLarge`], for what is read as well.
    pub fn get_many(
        &self,
        access: Access,
        keys: &[impl AsRef<str>],
    ) -> Result<Vec<Option<Record<'_>>>, StateError> {
        check_batch(keys.len(), 0)?;
        let mut bytes = 0;
        keys.iter()
            .map(|key| {
                let record = self.get(access, key.as_ref())?;
                bytes += record.map_or(0, |record| record.key.len() + record.value.len());
                check_batch(keys.len(), bytes)?;
                Ok(record)
            })
            .collect()
    }

    /// Writes several keys, in order, nothing else happening between them. The first write that is
    /// refused ends it; those before stay.
    ///
    /// # Errors
    /// As [`States::set`], and [`StateError::BatchTooLarge`], which writes nothing.
    pub fn set_many(
        &mut self,
        access: Access,
        pairs: &[(impl AsRef<str>, impl AsRef<[u8]>)],
    ) -> Result<(), StateError> {
        let mut pairs = pairs
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_ref()));
        let bytes = pairs.clone().map(|(key, value)| key.len() + value.len());
        check_batch(pairs.len(), bytes.sum())?;
        pairs.try_for_each(|(key, value)| self.set(access, key, value).map(drop))
    }

    /// Deletes several keys, those that exist, nothing else happening between them.
    ///
    /// # Errors
    /// As [`States::delete`], and [`StateError::BatchTooLarge`], which deletes nothing.
    pub fn delete_many(
        &mut self,
        access: Access,
        keys: &[impl AsRef<str>],
    ) -> Result<(), StateError> {
        check_batch(keys.len(), 0)?;
        keys.iter()
            .try_for_each(|key| self.delete(access, key.as_ref()).map(drop))
    }

    /// The only way a key is deleted: `check` sees what is there.
    fn remove(
        &mut self,
        access: Access,
        key: &str,
        check: impl FnOnce(Option<Record<'_>>) -> Result<(), StateError>,
    ) -> Result<bool, StateError> {
        check_writable(access)?;
        let state = self.state_mut(access)?;
        let found = state.table.find(key.as_bytes());
        let record = state.table.get(found);
        check(record)?;
        let Some(record) = record else {
            return Ok(false);
        };
        let record_bytes = record.counted_bytes();
        state.table.remove(found);
        self.keys -= 1;
        self.bytes -= record_bytes;
        Ok(true)
    }

    /// The only way a key is written: `value` makes the new value of what is there.
    fn write<'v>(
        &mut self,
        access: Access,
        key: &str,
        value: impl FnOnce(Option<Record<'_>>) -> Result<Cow<'v, [u8]>, StateError>,
    ) -> Result<u64, StateError> {
        check_writable(access)?;
        let key = key.as_bytes();
        if key.len() > STATE_KEY_BYTES_MAX {
            return Err(StateError::KeyTooLarge {
                len_bytes: key.len(),
            });
        }
        let most_bytes = counted_bytes(key.len(), STATE_VALUE_BYTES_MAX);
        if self.keys >= self.keys_max || self.bytes + most_bytes > self.bytes_max {
            // Whoever needs the room helps to make it.
            self.free_ended(STATE_FREE_STEP_BYTES);
        }
        let (keys, bytes) = (self.keys, self.bytes);
        let (keys_max, bytes_max) = (self.keys_max, self.bytes_max);
        let state = self.state_mut(access)?;
        let found = state.table.find(key);
        let old = state.table.get(found);
        let value = value(old)?;
        if value.len() > STATE_VALUE_BYTES_MAX {
            return Err(StateError::ValueTooLarge {
                len_bytes: value.len(),
            });
        }
        let added_keys = u64::from(old.is_none());
        let old_bytes = old.map_or(0, |record| record.counted_bytes());
        let new_bytes = counted_bytes(key.len(), value.len());
        let fits = |whose, what, held: u64, max| {
            let full = StateError::Full { whose, what, max };
            if held > max { Err(full) } else { Ok(()) }
        };
        let (table, limits) = (&state.table, &state.limits);
        // What does not grow is never refused, even if a bound has been lowered below it.
        if added_keys > 0 {
            fits("the state", "keys", table.keys() + 1, limits.keys_max)?;
            fits("the shard", "keys", keys + 1, keys_max)?;
        }
        if new_bytes > old_bytes {
            let held = table.counted_bytes() - old_bytes + new_bytes;
            fits("the state", "bytes", held, limits.bytes_max)?;
            fits(
                "the task's share of the state",
                "bytes",
                held,
                access.bytes_max,
            )?;
            fits(
                "the shard",
                "bytes",
                bytes - old_bytes + new_bytes,
                bytes_max,
            )?;
        }
        let record = Record {
            key,
            value: &value,
            version: state.writes + 1,
        };
        state
            .table
            .put(found, record)
            .map_err(|SegmentFull| StateError::Full {
                whose: "a segment of the state",
                what: "keys",
                max: super::segment::SEGMENT_KEYS_MAX as u64,
            })?;
        state.writes += 1;
        let version = state.writes;
        self.keys += added_keys;
        self.bytes = bytes - old_bytes + new_bytes;
        Ok(version)
    }
}

fn check_writable(access: Access) -> Result<(), StateError> {
    match access.mode() {
        Mode::Rw => Ok(()),
        Mode::Ro => Err(StateError::ReadOnly),
    }
}

fn check_version(old: Option<Record<'_>>, expected: u64) -> Result<(), StateError> {
    let current = old.map_or(0, |record| record.version);
    if current != expected {
        return Err(StateError::VersionConflict { expected, current });
    }
    Ok(())
}

fn check_batch(keys: usize, bytes: usize) -> Result<(), StateError> {
    if keys > STATE_BATCH_KEYS_MAX || bytes > STATE_BATCH_BYTES_MAX {
        return Err(StateError::BatchTooLarge);
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<i64, StateError> {
    let text = std::str::from_utf8(value).map_err(|_| StateError::NotCounter)?;
    text.parse().map_err(|_| StateError::NotCounter)
}

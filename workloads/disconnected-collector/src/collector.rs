//! What is kept, and in which order it is written.
//!
//! The bucket holds one key for each reading, `reading/NUMBER`, and the [`Ledger`]. A task may be
//! killed at any point; the new one gets the whole input again. For every reading to arrive exactly
//! once at a sink that suppresses batches whose key it knows, these must hold at each point:
//!
//! - **A reading counts as accepted as soon as its own key is there**, and by nothing else. The
//!   numbers are given without a gap, so that the new task finds the last one by looking from the
//!   ledger's `tail` on, and learns from what it finds how far each station has come. There is no
//!   second write that could be missing.
//! - **A batch is in the ledger before it is first sent**, with the sequence number that makes its key.
//!   Whoever sends it again, be it a new task with another batch size, sends the same readings under
//!   the same key. A kill between the sink's answer and its note in the ledger is therefore harmless:
//!   the sink knows the batch again.
//! - **An acknowledged reading is deleted only after the ledger says so**, and the same write
//!   brings the stations' times up to date: without the reading nothing else would tell that
//!   it must be suppressed when it comes again.

use thiserror::Error;

use crate::ledger::{KEY, Ledger, reading_key};
use crate::limits::{BATCH_BYTES_MAX, FETCH_READINGS_MAX, GROUP_READINGS_MAX};
use crate::lines::{Line, Lines};
use crate::reading::{Malformed, Reading, Time};
use crate::settings::Settings;
use crate::stations::Stations;
use crate::store::{Store, StoreError};

/// Why the collector cannot go on. What is in the bucket stays right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The bucket failed in a call that it had no reason to refuse.
    #[error("the bucket failed: {0}")]
    Store(#[from] StoreError),
    /// Nothing is held that could be delivered to make room, and yet there is none.
    #[error("the bucket refuses a reading although it holds none ({0}): give it more room")]
    RoomMissing(StoreError),
    /// What is in the bucket was not written by this workload, or not by it alone.
    #[error(
        "the bucket's key {key:?} is missing or not this workload's: give it a bucket of its own"
    )]
    Damaged {
        /// The key.
        key: String,
    },
}

/// What the collector counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readings accepted into the store.
    pub received: u64,
    /// Lines that were not readings.
    pub malformed: u64,
    /// Readings acknowledged upstream.
    pub delivered: u64,
    /// Readings that were not later than the last one accepted of their station.
    pub duplicates_suppressed: u64,
    /// Batches acknowledged upstream.
    pub batches: u64,
    /// The most readings that were in the store, those of earlier tasks among them.
    pub held_max: u64,
}

/// What is sent in one request. It is the same each time it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The same for the same batch and for no other.
    pub idempotency_key: String,
    /// The readings, one a line.
    pub body: Vec<u8>,
}

/// Readings between the input and the uplink.
pub struct Collector<S> {
    store: S,
    /// As it was last written to the store, but for `tail`.
    ledger: Ledger,
    /// The number of the next reading.
    tail: u64,
    stations: Stations,
    lines: Lines,
    /// Readings that were taken from the input and are not accepted yet. Empty unless the store is full.
    pending: Vec<Pending>,
    /// What the store said when it refused a reading; nothing is tried until room was made.
    refused: Option<StoreError>,
    /// The batch that the ledger names, once it has been read.
    batch: Option<Batch>,
    batch_readings: u64,
    held_max: u64,
    counts: Counts,
}

/// A reading that waits for room.
struct Pending {
    station: usize,
    time: Time,
    line: Vec<u8>,
}

impl<S: Store> Collector<S> {
    /// Goes on where the last task on this bucket was, or begins with `run`, which is random.
    ///
    /// # Errors
    /// The bucket failed, or is not this workload's.
    pub fn open(mut store: S, settings: &Settings, run: [u8; 16]) -> Result<Self, Error> {
        let known = store.get_many(&[KEY.to_owned()])?.pop().flatten();
        let (ledger, stations) = match &known {
            Some(bytes) => Ledger::decode(bytes).ok_or_else(|| damaged(KEY.to_owned()))?,
            None => (Ledger::new(run), Stations::default()),
        };
        let mut collector = Self {
            store,
            tail: ledger.tail,
            ledger,
            stations,
            lines: Lines::default(),
            pending: Vec::new(),
            refused: None,
            batch: None,
            batch_readings: settings.batch_readings,
            held_max: settings.held_max,
            counts: Counts::default(),
        };
        if known.is_none() {
            collector.write_ledger()?;
        }
        collector.sweep()?;
        collector.find_tail()?;
        collector.counts.held_max = collector.held();
        Ok(collector)
    }

    /// How many readings are in the store and not acknowledged.
    pub fn held(&self) -> u64 {
        self.tail - self.ledger.first
    }

    /// What was counted since the collector was opened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the store said if it is full.
    pub fn refused(&self) -> Option<&StoreError> {
        self.refused.as_ref()
    }

    /// Whether more input could be taken now. While readings wait for room it could not.
    pub fn wants_input(&self) -> bool {
        self.pending.is_empty() && self.held() < self.held_max && self.lines.wants_input()
    }

    /// Whether the input has ended and all of it is accepted.
    pub fn is_input_kept(&self) -> bool {
        self.pending.is_empty() && self.lines.is_exhausted()
    }

    /// Adds a chunk of input, to be accepted by the next [`Collector::accept`].
    pub fn push(&mut self, chunk: &[u8]) {
        self.lines.push(chunk);
    }

    /// Says that no chunk follows.
    pub fn end_input(&mut self) {
        self.lines.end();
    }

    /// Accepts as many readings of the input as are here and have room. `malformed` is told the number of
    /// each line that is not a reading, and why.
    ///
    /// # Errors
    /// The bucket failed, or has no room although it holds nothing. That it is full is no error.
    pub fn accept(&mut self, mut malformed: impl FnMut(u64, Malformed)) -> Result<(), Error> {
        while self.refused.is_none() {
            if self.pending.is_empty() {
                self.gather(&mut malformed);
            }
            if self.pending.is_empty() {
                return Ok(());
            }
            if let Err(full) = self.keep_pending()? {
                if self.held() == 0 {
                    return Err(Error::RoomMissing(full));
                }
                self.refused = Some(full);
            }
        }
        Ok(())
    }

    /// The batch to be sent now; the same one until it is acknowledged, `None` if nothing is held.
    ///
    /// # Errors
    /// The bucket failed, or lost a reading.
    pub fn batch(&mut self) -> Result<Option<&Batch>, Error> {
        if self.batch.is_none() && self.held() > 0 {
            let is_chosen = self.ledger.first < self.ledger.end;
            let (first, tail) = (self.ledger.first, self.tail);
            let end =
                if is_chosen { self.ledger.end } else { tail.min(first + self.batch_readings) };
            let bytes_max = if is_chosen { usize::MAX } else { BATCH_BYTES_MAX };
            let (body, end) = self.read_body(end, bytes_max)?;
            if !is_chosen {
                // From here on this sequence number means these readings, whoever sends them. That must be
                // so before the first byte leaves: a batch of another length under the same key would be
                // suppressed, and its additional readings lost.
                self.ledger.end = end;
                self.write_ledger()?;
            }
            self.batch = Some(Batch { idempotency_key: self.ledger.idempotency_key(), body });
        }
        Ok(self.batch.as_ref())
    }

    /// Takes note that the sink has the batch, and makes room.
    ///
    /// # Errors
    /// The bucket failed. The batch may then be sent again, which the sink suppresses.
    pub fn acknowledged(&mut self) -> Result<(), Error> {
        let Some(_sent) = self.batch.take() else { return Ok(()) };
        let Ledger { first, end, .. } = self.ledger;
        // First the note, then the deletions. The other way round, a kill in between would leave a ledger
        // that names a batch whose readings are gone. `swept` tells the new task what is left to delete.
        self.ledger.swept = first;
        self.ledger.first = end;
        self.ledger.sequence += 1;
        self.write_ledger()?;
        self.counts.delivered += end - first;
        self.counts.batches += 1;
        self.sweep()?;
        // There is room now; the readings that wait are tried again.
        self.refused = None;
        Ok(())
    }

    /// Takes lines from the input until a group is full, the bound on held readings is reached or no
    /// line is left.
    fn gather(&mut self, malformed: &mut impl FnMut(u64, Malformed)) {
        let room = self.held_max.saturating_sub(self.held());
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(GROUP_READINGS_MAX);
        while self.pending.len() < room
            && let Some(line) = self.lines.take()
        {
            let parsed = match line {
                Line::Whole(line) => Reading::parse(line).map(|reading| (line, reading)),
                Line::TooLong => Err(Malformed::TooLong),
            };
            let placed = parsed.and_then(|(line, reading)| {
                let station = self.stations.find_or_add(&reading.station);
                Ok((line, reading.time, station.ok_or(Malformed::StationsTooMany)?))
            });
            match placed {
                Ok((line, time, place)) => {
                    let station = self.stations.at(place);
                    if time <= station.seen {
                        self.counts.duplicates_suppressed += 1;
                        continue;
                    }
                    station.seen = time;
                    self.pending.push(Pending { station: place, time, line: line.to_vec() });
                }
                Err(reason) => {
                    self.counts.malformed += 1;
                    malformed(self.lines.number(), reason);
                }
            }
        }
    }

    /// Accepts the readings that wait, or as many of them as there is room for: the inner error is the
    /// store's refusal of the next one.
    fn keep_pending(&mut self) -> Result<Result<(), StoreError>, Error> {
        let mut count = self.pending.len();
        while count > 0 {
            match self.keep_group(count) {
                Ok(()) => count = self.pending.len(),
                Err(full @ StoreError::Other(_)) if count == 1 => return Ok(Err(full)),
                Err(StoreError::Other(_)) => {
                    // A smaller group may fit, unless what was written of the refused one takes its room.
                    self.delete(self.tail..self.tail + count as u64)?;
                    count /= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Ok(()))
    }

    /// Accepts the first `count` of the readings that wait.
    fn keep_group(&mut self, count: usize) -> Result<(), StoreError> {
        self.add_stations_to_ledger(count)?;
        let group = &mut self.pending[..count];
        let entries: Vec<(String, Vec<u8>)> = (self.tail..)
            .zip(group.iter_mut())
            .map(|(number, pending)| (reading_key(number), std::mem::take(&mut pending.line)))
            .collect();
        let kept = match entries.as_slice() {
            [(key, value)] => self.store.set(key, value),
            entries => self.store.set_many(entries),
        };
        if let Err(refused) = kept {
            for (pending, (_, line)) in group.iter_mut().zip(entries) {
                pending.line = line;
            }
            return Err(refused);
        }
        self.tail += count as u64;
        for pending in self.pending.drain(..count) {
            self.stations.at(pending.station).accepted = pending.time;
        }
        self.counts.received += count as u64;
        self.counts.held_max = self.counts.held_max.max(self.held());
        Ok(())
    }

    /// Writes a line for each new station before its first reading is written, as long as there may be
    /// room for it: later, when the readings are acknowledged, the ledger must not have to grow.
    fn add_stations_to_ledger(&mut self, count: usize) -> Result<(), StoreError> {
        let mut added: Vec<usize> = Vec::new();
        for pending in &self.pending[..count] {
            let station = self.stations.at(pending.station);
            if !station.in_ledger {
                station.in_ledger = true;
                added.push(pending.station);
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let written = self.write_ledger();
        if written.is_err() {
            for station in added {
                self.stations.at(station).in_ledger = false;
            }
        }
        written
    }

    /// The lines of the readings from the ledger's `first` to `end`, and where they end when they have
    /// more than `bytes_max` bytes.
    fn read_body(&mut self, end: u64, bytes_max: usize) -> Result<(Vec<u8>, u64), Error> {
        let mut body = Vec::new();
        let mut number = self.ledger.first;
        while number < end {
            for line in self.fetch(number, end)? {
                let line = line.ok_or_else(|| damaged(reading_key(number)))?;
                body.extend_from_slice(&line);
                body.push(b'\n');
                number += 1;
                if body.len() >= bytes_max {
                    return Ok((body, number));
                }
            }
        }
        Ok((body, end))
    }

    /// Deletes what is left of acknowledged readings.
    fn sweep(&mut self) -> Result<(), StoreError> {
        let mut number = self.ledger.swept;
        while number < self.ledger.first {
            let group_end = self.ledger.first.min(number + GROUP_READINGS_MAX as u64);
            self.delete(number..group_end)?;
            number = group_end;
        }
        // Not written for its own sake: to delete the same keys again does nothing.
        self.ledger.swept = self.ledger.first;
        Ok(())
    }

    /// Finds the readings that were accepted after the ledger was last written, and removes the remains
    /// of a group that was cut off.
    fn find_tail(&mut self) -> Result<(), Error> {
        loop {
            for line in self.fetch(self.tail, u64::MAX)? {
                let Some(line) = line else { return self.remove_remains() };
                let refused = || damaged(reading_key(self.tail));
                let reading = Reading::parse(&line).map_err(|_| refused())?;
                let place = self.stations.find(&reading.station).ok_or_else(refused)?;
                let station = self.stations.at(place);
                if reading.time <= station.seen {
                    return Err(refused());
                }
                station.seen = reading.time;
                station.accepted = reading.time;
                self.tail += 1;
            }
        }
    }

    /// Of a group that was cut off any part may be there. What comes before the first gap is accepted.
    /// What comes behind it is not, and comes again with the input; it must go, or it would count as
    /// accepted when the gap is filled by other readings.
    fn remove_remains(&mut self) -> Result<(), Error> {
        let mut remains = Vec::new();
        let mut number = self.tail + 1;
        let end = self.tail + GROUP_READINGS_MAX as u64;
        while number < end {
            for line in self.fetch(number, end)? {
                remains.extend(line.map(|_| number));
                number += 1;
            }
        }
        Ok(self.delete(remains.into_iter())?)
    }

    /// The lines of the readings from `first` on, before `end` and as many as one call may fetch.
    fn fetch(&mut self, first: u64, end: u64) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let end = end.min(first + FETCH_READINGS_MAX as u64);
        let keys: Vec<String> = (first..end).map(reading_key).collect();
        let mut lines = self.store.get_many(&keys)?;
        // A host that answers with fewer values than keys has said nothing of the others.
        lines.resize(keys.len(), None);
        Ok(lines)
    }

    fn delete(&mut self, numbers: impl Iterator<Item = u64>) -> Result<(), StoreError> {
        let keys: Vec<String> = numbers.map(reading_key).collect();
        if keys.is_empty() { Ok(()) } else { self.store.delete_many(&keys) }
    }

    fn write_ledger(&mut self) -> Result<(), StoreError> {
        // The tail and the stations' times belong together, and neither counts a reading that still
        // waits for room.
        self.ledger.tail = self.tail;
        self.store.set(KEY, &self.ledger.encode(&self.stations))
    }
}

fn damaged(key: String) -> Error {
    Error::Damaged { key }
}

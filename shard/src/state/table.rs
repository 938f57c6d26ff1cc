//! The keys of one state: extendible hashing (Fagin, Nievergelt, Pippenger, Strong 1979).
//!
//! A directory, indexed by the first bits of a key's hash, names the segment the key is in. A full
//! segment splits in two by the next bit; only when its bits are all the directory looks at, the
//! directory doubles, which copies 4 bytes for each of its entries. So a table of any size grows
//! by some hundred keys at a time, and never rehashes as a whole.
//!
//! The order of hashes is the order of listing: a key's place is the first 32 bits of its hash,
//! which never changes, so a cursor stays right whatever is split, written or deleted meanwhile.

use super::hash::Secret;
use super::segment::{Record, SEGMENT_KEYS_MAX, Segment};

/// Bits the directory looks at, at most; a full segment that has as many refuses keys. That takes
/// so many keys that hashes alone cannot bring it about before the bounds of a shard are reached.
const DEPTH_MAX: u32 = 20;
/// Segments that one page of a listing visits, at most.
const PAGE_SEGMENTS_MAX: usize = 256;
/// What freeing a segment counts at least, however few keys it has.
const SEGMENT_FREE_BYTES_MIN: u64 = 4096;

const _: () = assert!(
    (SEGMENT_KEYS_MAX as u64) << DEPTH_MAX >= 16 * vyr_core::limits::StateLimits::NODE_CAP.keys_max
);

pub(super) struct Table {
    secret: Secret,
    directory: Vec<u32>,
    /// Bits of the hash that the directory looks at.
    depth: u32,
    segments: Vec<Segment>,
    keys: u64,
    counted_bytes: u64,
}

/// Where a key is or would be; right until the table changes.
#[derive(Clone, Copy)]
pub(super) struct Found {
    hash: u64,
    segment: usize,
    slot: Option<usize>,
}

/// There is no room for one more key with such a hash.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentFull;

/// What a step freed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) keys: u64,
    pub(super) counted_bytes: u64,
}

impl Table {
    pub(super) fn new(secret: Secret) -> Self {
        Self {
            secret,
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::default()],
            keys: 0,
            counted_bytes: 0,
        }
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn counted_bytes(&self) -> u64 {
        self.counted_bytes
    }

    pub(super) fn find(&self, key: &[u8]) -> Found {
        let hash = self.secret.hash(key);
        let segment = self.segment_of(hash);
        Found {
            hash,
            segment,
            slot: self.segments[segment].find(hash, key),
        }
    }

    /// What is there.
    pub(super) fn get(&self, found: Found) -> Option<Record<'_>> {
        Some(self.segments[found.segment].record(found.slot?))
    }

    /// Writes the record of the key that was found or not found.
    pub(super) fn put(&mut self, found: Found, record: Record<'_>) -> Result<(), SegmentFull> {
        let segment = match found.slot {
            Some(_) => found.segment,
            None => self.make_room(found.hash)?,
        };
        let (secret, segment) = (&self.secret, &mut self.segments[segment]);
        self.counted_bytes -= segment.counted_bytes();
        match found.slot {
            Some(slot) => segment.replace(slot, record, secret),
            None => {
                segment.insert(found.hash, record, secret);
                self.keys += 1;
            }
        }
        self.counted_bytes += segment.counted_bytes();
        Ok(())
    }

    /// Removes the key that was found.
    pub(super) fn remove(&mut self, found: Found) {
        let Some(slot) = found.slot else { return };
        let segment = &mut self.segments[found.segment];
        self.counted_bytes -= segment.counted_bytes();
        segment.remove(slot, &self.secret);
        self.counted_bytes += segment.counted_bytes();
        self.keys -= 1;
    }

    /// Visits the keys from a place on, about `keys_max` of them, and returns the place to go on
    /// from, if there may be more. Every key that has one place or another before it is visited.
    pub(super) fn visit(
        &self,
        from: u32,
        keys_max: usize,
        mut visit: impl FnMut(&[u8]),
    ) -> Option<u32> {
        let mut from = Some(from);
        let mut visited = 0;
        let mut last = None;
        for _ in 0..PAGE_SEGMENTS_MAX {
            let first = from?;
            let (segment, next) = self.segment_at(first);
            let mut keys: Vec<_> = segment
                .records()
                .map(|record| (place(self.secret.hash(record.key)), record.key))
                .filter(|&(place, _)| place >= first)
                .collect();
            keys.sort_unstable_by_key(|&(place, _)| place);
            for (place, key) in keys {
                // Keys of one place stay together, since a cursor cannot tell them apart.
                if visited >= keys_max && last != Some(place) {
                    return Some(place);
                }
                visit(key);
                visited += 1;
                last = Some(place);
            }
            from = next;
        }
        from
    }

    /// Frees keys that count about `budget_bytes`, or all; the table is of no use after the first step.
    pub(super) fn free_some(&mut self, budget_bytes: u64) -> Freed {
        let mut freed = Freed::default();
        let mut spent_bytes = 0;
        while let Some(segment) = self.segments.last_mut()
            && spent_bytes < budget_bytes
        {
            if let Some(large_bytes) = segment.free_large() {
                spent_bytes += large_bytes as u64;
                continue;
            }
            spent_bytes += SEGMENT_FREE_BYTES_MIN.max(segment.records_bytes());
            freed.keys += segment.keys() as u64;
            freed.counted_bytes += segment.counted_bytes();
            self.segments.pop();
        }
        freed
    }

    /// Whether everything is freed.
    pub(super) fn is_freed(&self) -> bool {
        self.segments.is_empty()
    }

    fn segment_of(&self, hash: u64) -> usize {
        // In two steps, since shifting by all 64 bits is not defined.
        self.directory[(hash >> 1 >> (u64::BITS - 1 - self.depth)) as usize] as usize
    }

    /// The segment of a place, and the first place behind it.
    fn segment_at(&self, place: u32) -> (&Segment, Option<u32>) {
        let segment = &self.segments[self.segment_of(u64::from(place) << 32)];
        let span = 1u64 << (u32::BITS - segment.depth);
        let next = (u64::from(place) / span + 1) * span;
        (segment, u32::try_from(next).ok())
    }

    /// Splits until the hash's segment has room for one more key.
    fn make_room(&mut self, hash: u64) -> Result<usize, SegmentFull> {
        loop {
            let segment = self.segment_of(hash);
            if self.segments[segment].keys() < SEGMENT_KEYS_MAX {
                return Ok(segment);
            }
            if self.segments[segment].depth == DEPTH_MAX {
                return Err(SegmentFull);
            }
            self.split(segment, hash);
        }
    }

    fn split(&mut self, segment: usize, hash: u64) {
        if self.segments[segment].depth == self.depth {
            self.directory = self
                .directory
                .iter()
                .flat_map(|&segment| [segment; 2])
                .collect();
            self.depth += 1;
        }
        let ones = self.segments[segment].split(&self.secret);
        let number = u32::try_from(self.segments.len()).expect("at most 2^DEPTH_MAX segments");
        // The directory's entries for the new segment: those with the hash's first bits, then a 1.
        let entries = 1 << (self.depth - ones.depth);
        let first = ((hash >> (u64::BITS - ones.depth) | 1) as usize) * entries;
        self.directory[first..first + entries].fill(number);
        self.segments.push(ones);
    }
}

/// A key's place in the order of listing.
fn place(hash: u64) -> u32 {
    (hash >> 32) as u32
}

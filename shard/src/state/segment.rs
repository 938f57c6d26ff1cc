//! A segment: some hundred keys of one table, whose hashes begin with the same bits.
//!
//! Keys and values stand as records in one buffer, so that a key costs no allocation of its own and
//! a whole segment is freed at once. An index says where each record starts. A record is
//!
//! | bytes | field |
//! |---|---|
//! | 8 | version |
//! | 4 | length of the value |
//! | 2 | length of the key |
//! | | key |
//! | | value, or, for one above [`INLINE_VALUE_BYTES_MAX`], 4 bytes: its place among the large ones |
//!
//! A record that was replaced or removed stays as dead bytes until they are half of the buffer.

use hashbrown::HashTable;
use vyr_core::limits::{STATE_KEY_BYTES_MAX, STATE_KEY_OVERHEAD_BYTES};

use super::hash::Secret;

/// Keys in one segment; the next one splits it. The number of slots that an index of 512 fills.
pub(super) const SEGMENT_KEYS_MAX: usize = 448;

const INLINE_VALUE_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 14;
const LARGE_PLACE_BYTES: usize = 4;
/// Fewer dead bytes than this are not worth the copying.
const DEAD_BYTES_MIN: usize = 1024;

const _: () = {
    let live = SEGMENT_KEYS_MAX * (HEADER_BYTES + STATE_KEY_BYTES_MAX + INLINE_VALUE_BYTES_MAX);
    assert!(
        4 * live < u32::MAX as usize,
        "a record's start fits 32 bits"
    );
    assert!(
        HEADER_BYTES + LARGE_PLACE_BYTES <= STATE_KEY_OVERHEAD_BYTES as usize,
        "no record is larger than what it counts"
    );
};

/// A key as it is stored, with its value and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key, UTF-8.
    pub(super) key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Which write of its state made it; never 0.
    pub version: u64,
}

impl Record<'_> {
    /// What it counts against the bounds of bytes.
    pub(super) fn counted_bytes(&self) -> u64 {
        counted_bytes(self.key.len(), self.value.len())
    }
}

/// What a key and its value count against the bounds of bytes.
pub(super) fn counted_bytes(key_bytes: usize, value_bytes: usize) -> u64 {
    STATE_KEY_OVERHEAD_BYTES + (key_bytes + value_bytes) as u64
}

#[derive(Default)]
pub(super) struct Segment {
    index: HashTable<u32>,
    records: Vec<u8>,
    large: Vec<Box<[u8]>>,
    dead_bytes: usize,
    counted_bytes: u64,
    /// How many first bits of their hashes its keys share.
    pub(super) depth: u32,
}

impl Segment {
    fn with_capacity(depth: u32, keys: usize, records_bytes: usize) -> Self {
        Self {
            index: HashTable::with_capacity(keys),
            records: Vec::with_capacity(records_bytes),
            depth,
            ..Self::default()
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.index.len()
    }

    pub(super) fn counted_bytes(&self) -> u64 {
        self.counted_bytes
    }

    /// The size of its buffer.
    pub(super) fn records_bytes(&self) -> u64 {
        self.records.capacity() as u64
    }

    /// The slot of the index that names the key's record.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.index
            .find_bucket_index(index_hash(hash), |&start| self.key(start) == key)
    }

    pub(super) fn record(&self, slot: usize) -> Record<'_> {
        self.record_at(self.start(slot))
    }

    /// Every record, in no order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.index.iter().map(|&start| self.record_at(start))
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, hash: u64, record: Record<'_>, secret: &Secret) {
        let start = self.append(record);
        let records = &self.records;
        self.index.insert_unique(index_hash(hash), start, |&start| {
            index_hash(secret.hash(key_at(records, start)))
        });
        self.counted_bytes += record.counted_bytes();
    }

    /// Writes a new value and version to a key that is there.
    pub(super) fn replace(&mut self, slot: usize, record: Record<'_>, secret: &Secret) {
        let start = self.start(slot);
        let old = self.header(start);
        self.counted_bytes -= self.record_at(start).counted_bytes();
        self.counted_bytes += record.counted_bytes();
        if old.value_bytes == record.value.len() {
            let body = start as usize + HEADER_BYTES + old.key_bytes;
            self.records[start as usize..][..8].copy_from_slice(&record.version.to_le_bytes());
            match self.large_place(&old, start) {
                Some(place) => self.large[place].copy_from_slice(record.value),
                None => self.records[body..][..old.value_bytes].copy_from_slice(record.value),
            }
            return;
        }
        self.bury(start);
        let moved = self.append(record);
        if let Some(start) = self.index.get_bucket_mut(slot) {
            *start = moved;
        }
        self.compact(secret);
    }

    pub(super) fn remove(&mut self, slot: usize, secret: &Secret) {
        let start = self.start(slot);
        self.counted_bytes -= self.record_at(start).counted_bytes();
        self.bury(start);
        if let Ok(entry) = self.index.get_bucket_entry(slot) {
            entry.remove();
        }
        self.compact(secret);
    }

    /// Keeps the keys whose next bit is 0 and returns the others.
    pub(super) fn split(&mut self, secret: &Secret) -> Self {
        let depth = self.depth + 1;
        let keys = self.keys() / 2;
        let records_bytes = (self.records.len() - self.dead_bytes) * 5 / 8;
        let mut halves = [(); 2].map(|()| Self::with_capacity(depth, keys, records_bytes));
        self.move_into(
            secret,
            |hash| (hash >> (u64::BITS - depth) & 1) as usize,
            &mut halves,
        );
        let [zeros, ones] = halves;
        *self = zeros;
        ones
    }

    /// Frees one large value and returns its length.
    pub(super) fn free_large(&mut self) -> Option<usize> {
        self.large.pop().map(|value| value.len())
    }

    fn start(&self, slot: usize) -> u32 {
        *self.index.get_bucket(slot).expect("a slot that find gave")
    }

    fn header(&self, start: u32) -> Header {
        Header::read(&self.records, start)
    }

    fn key(&self, start: u32) -> &[u8] {
        key_at(&self.records, start)
    }

    fn record_at(&self, start: u32) -> Record<'_> {
        let header = self.header(start);
        let key = self.key(start);
        let value = match self.large_place(&header, start) {
            Some(place) => &self.large[place],
            None => {
                let body = start as usize + HEADER_BYTES + header.key_bytes;
                &self.records[body..][..header.value_bytes]
            }
        };
        Record {
            key,
            value,
            version: header.version,
        }
    }

    /// Where among the large values the value of this record is, if it is one.
    fn large_place(&self, header: &Header, start: u32) -> Option<usize> {
        (header.value_bytes > INLINE_VALUE_BYTES_MAX).then(|| {
            let body = start as usize + HEADER_BYTES + header.key_bytes;
            u32::from_le_bytes(field(&self.records[body..])) as usize
        })
    }

    fn append(&mut self, record: Record<'_>) -> u32 {
        let header = Header {
            version: record.version,
            value_bytes: record.value.len(),
            key_bytes: record.key.len(),
        };
        let start = self.records.len();
        reserve(&mut self.records, header.record_bytes());
        self.records
            .extend_from_slice(&header.version.to_le_bytes());
        self.records
            .extend_from_slice(&(header.value_bytes as u32).to_le_bytes());
        self.records
            .extend_from_slice(&(header.key_bytes as u16).to_le_bytes());
        self.records.extend_from_slice(record.key);
        if header.value_bytes <= INLINE_VALUE_BYTES_MAX {
            self.records.extend_from_slice(record.value);
        } else {
            let place = self.keep_large(record.value.into());
            self.records.extend_from_slice(&place.to_le_bytes());
        }
        u32::try_from(start).expect("a segment has a bounded number of records of bounded size")
    }

    fn keep_large(&mut self, value: Box<[u8]>) -> u32 {
        // An empty box is a place that a value has left.
        let place = match self.large.iter().position(|value| value.is_empty()) {
            Some(place) => {
                self.large[place] = value;
                place
            }
            None => {
                self.large.push(value);
                self.large.len() - 1
            }
        };
        u32::try_from(place).expect("there are no more large values than keys")
    }

    /// Frees what a record owns and counts its bytes as dead.
    fn bury(&mut self, start: u32) {
        let header = self.header(start);
        if let Some(place) = self.large_place(&header, start) {
            self.large[place] = Box::default();
        }
        self.dead_bytes += header.record_bytes();
    }

    fn compact(&mut self, secret: &Secret) {
        let live_bytes = self.records.len() - self.dead_bytes;
        if self.dead_bytes < live_bytes.max(DEAD_BYTES_MIN) && live_bytes > 0 {
            return;
        }
        let mut compact = [Self::with_capacity(self.depth, self.keys(), live_bytes)];
        self.move_into(secret, |_| 0, &mut compact);
        [*self] = compact;
    }

    /// Moves every record to the target that `choose` picks by its hash.
    fn move_into(&mut self, secret: &Secret, choose: impl Fn(u64) -> usize, targets: &mut [Self]) {
        for &start in &self.index {
            let header = self.header(start);
            let hash = secret.hash(self.key(start));
            let target = &mut targets[choose(hash)];
            let moved = target.records.len();
            let large = self.large_place(&header, start);
            reserve(&mut target.records, header.record_bytes());
            let record = &self.records[start as usize..][..header.record_bytes()];
            target.records.extend_from_slice(record);
            if let Some(place) = large {
                let value = std::mem::take(&mut self.large[place]);
                let place = target.keep_large(value).to_le_bytes();
                let end = target.records.len();
                target.records[end - LARGE_PLACE_BYTES..].copy_from_slice(&place);
            }
            let moved = u32::try_from(moved).expect("no longer than it was before");
            let records = &target.records;
            target
                .index
                .insert_unique(index_hash(hash), moved, |&start| {
                    index_hash(secret.hash(key_at(records, start)))
                });
            target.counted_bytes += counted_bytes(header.key_bytes, header.value_bytes);
        }
    }
}

struct Header {
    version: u64,
    value_bytes: usize,
    key_bytes: usize,
}

impl Header {
    fn read(records: &[u8], start: u32) -> Self {
        let header: [u8; HEADER_BYTES] = field(&records[start as usize..]);
        Self {
            version: u64::from_le_bytes(field(&header)),
            value_bytes: u32::from_le_bytes(field(&header[8..])) as usize,
            key_bytes: usize::from(u16::from_le_bytes(field(&header[12..]))),
        }
    }

    fn record_bytes(&self) -> usize {
        let body_bytes = match self.value_bytes {
            inline if inline <= INLINE_VALUE_BYTES_MAX => inline,
            _ => LARGE_PLACE_BYTES,
        };
        HEADER_BYTES + self.key_bytes + body_bytes
    }
}

fn key_at(records: &[u8], start: u32) -> &[u8] {
    let header = Header::read(records, start);
    &records[start as usize + HEADER_BYTES..][..header.key_bytes]
}

fn field<const BYTES: usize>(bytes: &[u8]) -> [u8; BYTES] {
    *bytes.first_chunk().expect("records are written whole")
}

/// Makes room by a quarter, not by doubling: most of the memory of a shard is records.
fn reserve(records: &mut Vec<u8>, additional: usize) {
    if records.capacity() - records.len() < additional {
        records.reserve_exact(additional.max(records.len() / 4));
    }
}

/// The first bits of a hash are the same in the whole segment, so the index begins with others.
fn index_hash(hash: u64) -> u64 {
    hash.rotate_left(u64::BITS / 2)
}

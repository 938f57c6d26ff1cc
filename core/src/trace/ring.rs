//! The bounded ring between a shard's executor and the thread that exports its records.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::Record;

/// A ring for one writer and one reader.
#[derive(Debug)]
pub struct Ring;

#[derive(Debug, Default)]
struct Counts {
    /// Changed by the writer only, so that adding needs no locked instruction.
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Ring {
    /// A ring of at most `records_max` records that were not read yet. All its memory is taken here.
    ///
    /// # Panics
    /// When `records_max` is 0.
    #[expect(clippy::new_ret_no_self, reason = "a ring is its two ends")]
    #[must_use]
    pub fn new(records_max: usize) -> (Writer, Reader) {
        assert!(records_max > 0, "a ring holds at least one record");
        let (producer, consumer) = rtrb::RingBuffer::new(records_max);
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            producer: Some(RefCell::new(producer)),
            counts: Arc::clone(&counts),
        };
        (writer, Reader { consumer, counts })
    }
}

/// The executor's end of a ring.
pub struct Writer {
    producer: Option<RefCell<rtrb::Producer<Record>>>,
    counts: Arc<Counts>,
}

impl Writer {
    /// A writer without a ring: every record is ignored, and none is counted.
    #[must_use]
    pub fn disabled() -> Self {
        Self {
            producer: None,
            counts: Arc::default(),
        }
    }

    /// Whether records go anywhere, so that making them can be spared.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.producer.is_some()
    }

    /// Writes a record; one that finds the ring full is dropped and counted. Never blocks or
    /// allocates.
    pub fn write(&self, record: Record) {
        let Some(producer) = &self.producer else {
            return;
        };
        let count = match producer.borrow_mut().push(record) {
            Ok(()) => &self.counts.written,
            Err(_) => &self.counts.dropped,
        };
        // The reader takes a record and then looks at the count, so the count may lag behind it by
        // what is being written right now, but never for longer.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Records that entered the ring.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    /// Records that found the ring full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("enabled", &self.is_enabled())
            .field("counts", &self.counts)
            .finish()
    }
}

/// The exporter's end of a ring.
pub struct Reader {
    consumer: rtrb::Consumer<Record>,
    counts: Arc<Counts>,
}

impl Reader {
    /// Shows up to `records_max` records to `take`, the oldest first, and then frees their places.
    /// Returns how many they were.
    pub fn drain(&mut self, records_max: usize, mut take: impl FnMut(&Record)) -> usize {
        let count = self.consumer.slots().min(records_max);
        let Ok(chunk) = self.consumer.read_chunk(count) else {
            return 0;
        };
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(&mut take);
        chunk.commit_all();
        count
    }

    /// Records in the ring now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// The most records the ring holds.
    #[must_use]
    pub fn records_max(&self) -> usize {
        self.consumer.buffer().capacity()
    }

    /// Whether the writer is gone, so that no record follows those in the ring.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.consumer.is_abandoned()
    }

    /// The ring's counts, to be read from anywhere.
    #[must_use]
    pub fn counts(&self) -> RingCounts {
        RingCounts {
            counts: Arc::clone(&self.counts),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("waiting", &self.waiting())
            .field("counts", &self.counts)
            .finish()
    }
}

/// Reads a ring's counts from anywhere.
#[derive(Debug, Clone)]
pub struct RingCounts {
    counts: Arc<Counts>,
}

impl RingCounts {
    /// Records that entered the ring.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Acquire)
    }

    /// Records that found the ring full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::id::TaskId;
    use crate::task::{Kind, Status};
    use crate::trace::{Detail, Step, TraceIdSource};

    pub(in crate::trace) fn record(number: u64) -> Record {
        let source = TraceIdSource::with_seed(number);
        Record {
            task: TaskId::from_bits(number.into()),
            artifact: Some(Digest::of(b"x")),
            trace_id: source.trace_id(),
            span_id: source.span_id(),
            parent: None,
            start_unix_ns: number,
            duration_ns: 1,
            step: Step::Task,
            kind: Kind::Http,
            status: Status::Succeeded,
            code: None,
            sampled: true,
            cold: false,
            detail: Detail::None,
        }
    }

    fn take_one(reader: &mut Reader) -> Option<Record> {
        let mut read = None;
        reader.drain(1, |record| read = Some(*record));
        read
    }

    #[test]
    fn a_full_ring_drops_the_new_record_and_counts_it() {
        let (writer, mut reader) = Ring::new(4);
        for number in 0..7 {
            writer.write(record(number));
        }
        assert_eq!((writer.written(), writer.dropped()), (4, 3));
        let read: Vec<u64> = std::iter::from_fn(|| take_one(&mut reader))
            .map(|record| record.start_unix_ns)
            .collect();
        assert_eq!(read, [0, 1, 2, 3]);
        writer.write(record(9));
        assert_eq!(
            (reader.counts().written(), reader.counts().dropped()),
            (5, 3)
        );
        assert!(!reader.is_closed());
        drop(writer);
        assert!(reader.is_closed());
        assert_eq!(take_one(&mut reader), Some(record(9)));
    }

    #[test]
    fn a_disabled_writer_ignores_records() {
        let writer = Writer::disabled();
        writer.write(record(1));
        assert!(!writer.is_enabled());
        assert_eq!((writer.written(), writer.dropped()), (0, 0));
    }

    #[test]
    fn across_threads_every_record_is_read_or_counted_as_dropped() {
        const MADE: u64 = 200_000;
        let (writer, mut reader) = Ring::new(64);
        let thread = std::thread::spawn(move || {
            for number in 0..MADE {
                writer.write(record(number));
            }
            (writer.written(), writer.dropped())
        });
        let (mut read, mut last) = (0u64, None);
        loop {
            let closed = reader.is_closed();
            match take_one(&mut reader) {
                Some(found) => {
                    assert_eq!(found, record(found.start_unix_ns), "a record arrives whole");
                    assert!(last < Some(found.start_unix_ns), "records stay in order");
                    last = Some(found.start_unix_ns);
                    read += 1;
                }
                None if closed => break,
                None => std::thread::yield_now(),
            }
        }
        let (written, dropped) = thread.join().expect("the writer does not panic");
        assert_eq!((read, written + dropped), (written, MADE));
    }
}

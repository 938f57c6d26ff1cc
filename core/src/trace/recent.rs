//! The last records of a shard, for whoever watches its tasks.
//!
//! A watcher is a number: that of the record it wants next. So any number of watchers costs the tasks
//! nothing, and one that is too slow finds out how many records it has missed.

use std::cell::{Cell, RefCell};

use super::record::Record;

/// The last records of a shard, numbered from 0 in the order they were written.
#[derive(Debug)]
pub struct Recent {
    records: RefCell<Vec<Record>>,
    records_max: usize,
    next: Cell<u64>,
}

/// Records from a number on.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed<T> {
    /// What was made of the records, in order.
    pub items: Vec<T>,
    /// Records that were overwritten before they were asked for.
    pub lost: u64,
    /// The number to ask for next.
    pub next: u64,
}

impl Recent {
    /// Keeps up to `records_max` records; with 0 none, and writing them is spared. The memory is
    /// taken here.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self {
            records: RefCell::new(Vec::with_capacity(records_max)),
            records_max,
            next: Cell::new(0),
        }
    }

    /// Whether records are kept at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.records_max > 0
    }

    /// Keeps a record in place of the oldest.
    pub fn write(&self, record: Record) {
        if self.records_max == 0 {
            return;
        }
        let mut records = self.records.borrow_mut();
        let number = self.next.get();
        self.next.set(number + 1);
        if records.len() < self.records_max {
            records.push(record);
        } else {
            records[self.place(number)] = record;
        }
    }

    /// The number that the next record gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next.get()
    }

    /// The number of the oldest record that is still kept.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.next.get() - self.records.borrow().len() as u64
    }

    /// What `choose` makes of the records from number `from` on, until it has made `items_max`
    /// items. A number that was not given yet is of an earlier life of the shard: reading begins with
    /// the oldest.
    pub fn since<T>(
        &self,
        from: u64,
        items_max: usize,
        mut choose: impl FnMut(&Record) -> Option<T>,
    ) -> Passed<T> {
        let (oldest, end) = (self.oldest(), self.next.get());
        let (mut next, lost) = match from {
            from if from > end => (oldest, 0),
            from => (from.max(oldest), oldest.saturating_sub(from)),
        };
        let records = self.records.borrow();
        let mut items = Vec::new();
        while next < end && items.len() < items_max {
            items.extend(choose(&records[self.place(next)]));
            next += 1;
        }
        Passed { items, lost, next }
    }

    fn place(&self, number: u64) -> usize {
        // The remainder is below `records_max`.
        (number % self.records_max as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::ring::tests::record;

    fn numbers(recent: &Recent, from: u64, items_max: usize) -> Passed<u64> {
        recent.since(from, items_max, |record| Some(record.start_unix_ns))
    }

    #[test]
    fn a_watcher_reads_on_and_learns_what_it_missed() {
        let recent = Recent::new(4);
        let passed = |items: &[u64], lost, next| Passed {
            items: items.to_vec(),
            lost,
            next,
        };
        assert_eq!(numbers(&recent, 0, 10), passed(&[], 0, 0));
        (0..3).for_each(|number| recent.write(record(number)));
        assert_eq!(numbers(&recent, 0, 2), passed(&[0, 1], 0, 2));
        (3..9).for_each(|number| recent.write(record(number)));
        assert_eq!((recent.oldest(), recent.next()), (5, 9));
        assert_eq!(numbers(&recent, 2, 10), passed(&[5, 6, 7, 8], 3, 9));
        assert_eq!(numbers(&recent, 9, 10), passed(&[], 0, 9));
        let even = recent.since(5, 1, |record| {
            (record.start_unix_ns % 2 == 0).then_some(record.start_unix_ns)
        });
        assert_eq!(even, passed(&[6], 0, 7));
    }

    #[test]
    fn a_number_of_an_earlier_life_begins_anew() {
        let recent = Recent::new(4);
        (0..3).for_each(|number| recent.write(record(number)));
        assert_eq!(numbers(&recent, 1000, 10).items, [0, 1, 2]);
        assert_eq!(numbers(&recent, 1000, 10).lost, 0);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let recent = Recent::new(0);
        recent.write(record(1));
        assert_eq!(numbers(&recent, 0, 10).next, 0);
    }
}

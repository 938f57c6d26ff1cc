//! The models: a bucket that outlives its tasks and a sink that suppresses batches it knows.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use disconnected_collector::{Collector, Error, Settings, Store, StoreError};

/// What a kill leaves of the call in which it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing: the kill comes before the call.
    Before,
    /// All: it comes after the call, whose result nobody sees.
    After,
    /// Every other key, of a call with many.
    Odd,
    /// The other ones.
    Even,
    /// All keys but the first: what comes later in the call may be there without what comes earlier.
    AllButFirst,
}

pub(crate) const CUTS: [Cut; 5] = [Cut::Before, Cut::After, Cut::Odd, Cut::Even, Cut::AllButFirst];

impl Cut {
    fn keeps(self, place: usize) -> bool {
        match self {
            Self::Before => false,
            Self::After => true,
            Self::Odd => !place.is_multiple_of(2),
            Self::Even => place.is_multiple_of(2),
            Self::AllButFirst => place > 0,
        }
    }
}

/// What the bucket holds, and its bound.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
    pub(crate) bytes_max: usize,
    /// Whether a write of many keys that is refused is nevertheless done in part.
    pub(crate) refuses_in_part: bool,
    pub(crate) refusals: u64,
}

impl Bucket {
    pub(crate) fn new() -> Rc<RefCell<Self>> {
        Self::with_room(usize::MAX)
    }

    pub(crate) fn with_room(bytes_max: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            entries: BTreeMap::new(),
            bytes_max,
            refuses_in_part: false,
            refusals: 0,
        }))
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let old = self.entries.insert(key.to_owned(), value.to_vec());
        if self.bytes_max == usize::MAX || self.bytes() <= self.bytes_max {
            return Ok(());
        }
        match old {
            Some(old) => self.entries.insert(key.to_owned(), old),
            None => self.entries.remove(key),
        };
        self.refusals += 1;
        Err(StoreError::Other("full".to_owned()))
    }
}

/// One task's way to the bucket. Being killed is an error after which every call fails.
pub(crate) struct TaskStore {
    bucket: Rc<RefCell<Bucket>>,
    /// The calls that are left until the kill.
    calls_left: u64,
    cut: Cut,
}

/// No refusal for want of room, so the collector gives up at once, as a task that is killed does.
const KILLED: StoreError = StoreError::AccessDenied;

impl TaskStore {
    pub(crate) fn new(bucket: &Rc<RefCell<Bucket>>, calls_left: u64, cut: Cut) -> Self {
        Self { bucket: Rc::clone(bucket), calls_left, cut }
    }

    /// Does something to each of `count` keys, or to those that the kill leaves.
    fn call(
        &mut self,
        count: usize,
        mut each: impl FnMut(&mut Bucket, usize) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut bucket = self.bucket.borrow_mut();
        match self.calls_left {
            0 => Err(KILLED),
            1 => {
                self.calls_left = 0;
                let cut = self.cut;
                (0..count)
                    .filter(|&place| cut.keeps(place))
                    .try_for_each(|place| each(&mut bucket, place))?;
                Err(KILLED)
            }
            _ => {
                self.calls_left -= 1;
                if bucket.refuses_in_part {
                    // All that fits is written, in an order that is not the caller's.
                    return (0..count)
                        .rev()
                        .map(|place| each(&mut bucket, place))
                        .fold(Ok(()), Result::and);
                }
                let before = (bucket.bytes_max < usize::MAX).then(|| bucket.entries.clone());
                let done = (0..count).try_for_each(|place| each(&mut bucket, place));
                if let (Err(_), Some(before)) = (&done, before) {
                    bucket.entries = before;
                }
                done
            }
        }
    }
}

impl Store for TaskStore {
    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.call(0, |_, _| Ok(()))?;
        let bucket = self.bucket.borrow();
        Ok(keys.iter().map(|key| bucket.entries.get(key).cloned()).collect())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.call(1, |bucket, _| bucket.set(key, value))
    }

    fn set_many(&mut self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.call(entries.len(), |bucket, place| {
            let (key, value) = &entries[place];
            bucket.set(key, value)
        })
    }

    fn delete_many(&mut self, keys: &[String]) -> Result<(), StoreError> {
        self.call(keys.len(), |bucket, place| {
            bucket.entries.remove(&keys[place]);
            Ok(())
        })
    }
}

/// What arrives, once for each idempotency key.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    keys: BTreeMap<String, Vec<u8>>,
    pub(crate) readings: Vec<String>,
    pub(crate) suppressed: u64,
    pub(crate) batch_readings_max: usize,
}

impl Sink {
    pub(crate) fn receive(&mut self, key: &str, body: &[u8]) {
        if let Some(known) = self.keys.get(key) {
            assert_eq!(known, body, "another batch under the same key {key}");
            self.suppressed += 1;
            return;
        }
        self.keys.insert(key.to_owned(), body.to_vec());
        let text = std::str::from_utf8(body).unwrap().strip_suffix('\n').unwrap();
        let lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        self.batch_readings_max = self.batch_readings_max.max(lines.len());
        self.readings.extend(lines);
    }

    /// Fails unless exactly these readings arrived, and each station's in the order of the input.
    pub(crate) fn assert_exactly(&self, sent: &[Sent], case: &str) {
        let arrived: BTreeSet<&String> = self.readings.iter().collect();
        assert_eq!(arrived.len(), self.readings.len(), "{case}: some readings arrived twice");
        assert_eq!(self.readings.len(), sent.len(), "{case}: {:?}", self.readings);
        for station in sent.iter().map(|sent| &sent.station).collect::<BTreeSet<_>>() {
            let sent: Vec<&String> = sent
                .iter()
                .filter(|sent| sent.station == *station)
                .map(|sent| &sent.line)
                .collect();
            let arrived: Vec<&String> =
                self.readings.iter().filter(|line| sent.contains(line)).collect();
            assert_eq!(arrived, sent, "{case}: {station}");
        }
    }
}

/// A reading of the input.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) station: String,
    pub(crate) line: String,
}

/// So many readings of three stations, in turn.
pub(crate) fn readings(count: usize) -> Vec<Sent> {
    (0..count)
        .map(|number| {
            let station = ["EWR", "JFK", "LGA"][(number * 7 + number / 5) % 3].to_owned();
            let (day, hour) = (1 + number / 24, number % 24);
            let line = format!(
                r#"{{"origin":"{station}","number":{number},"time_hour":"2013-01-{day:02}T{hour:02}:00:00Z"}}"#
            );
            Sent { station, line }
        })
        .collect()
}

pub(crate) fn input(sent: &[Sent]) -> Vec<u8> {
    sent.iter().flat_map(|sent| [sent.line.as_bytes(), b"\n"].concat()).collect()
}

pub(crate) fn settings(line: &str) -> Settings {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Settings::parse(&[vec!["--upstream=http://sink/".to_owned()], arguments].concat()).unwrap()
}

/// How one task goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) options: &'a str,
    pub(crate) chunk_bytes: usize,
    /// Every so many-th request gets through; the others fail.
    pub(crate) success_every: u64,
    /// Whether the sink has received what fails, only its answer being lost.
    pub(crate) answers_are_lost: bool,
    /// Chunks that are read between two requests.
    pub(crate) chunks_per_request: usize,
    /// The call of the store in which the task is killed, from 1.
    pub(crate) killed_at_call: u64,
    pub(crate) cut: Cut,
}

impl Task<'_> {
    pub(crate) const UNDISTURBED: Task<'static> = Task {
        options: "--batch-readings=4",
        chunk_bytes: 400,
        success_every: 1,
        answers_are_lost: false,
        chunks_per_request: 1,
        killed_at_call: u64::MAX,
        cut: Cut::Before,
    };

    /// Runs until the input ended and nothing is held, or until the kill: that is the error.
    pub(crate) fn run(
        &self,
        bucket: &Rc<RefCell<Bucket>>,
        sink: &mut Sink,
        input: &[u8],
    ) -> Result<Collector<TaskStore>, Error> {
        let store = TaskStore::new(bucket, self.killed_at_call, self.cut);
        let mut collector = Collector::open(store, &settings(self.options), [7; 16])?;
        let mut chunks = input.chunks(self.chunk_bytes);
        let (mut requests, mut idle) = (0, 0);
        while !(collector.is_input_kept() && collector.held() == 0) {
            let before = (collector.counts(), requests);
            for _ in 0..self.chunks_per_request {
                collector.accept(|_, _| ())?;
                if collector.wants_input() {
                    match chunks.next() {
                        Some(chunk) => collector.push(chunk),
                        None => collector.end_input(),
                    }
                }
            }
            collector.accept(|_, _| ())?;
            if let Some(batch) = collector.batch()? {
                requests += 1;
                let succeeds = requests % self.success_every == 0;
                if succeeds || self.answers_are_lost {
                    sink.receive(&batch.idempotency_key, &batch.body);
                }
                if succeeds {
                    collector.acknowledged()?;
                }
            }
            idle = if (collector.counts(), requests) == before { idle + 1 } else { 0 };
            assert!(idle < 1_000, "the collector stands still");
        }
        Ok(collector)
    }
}

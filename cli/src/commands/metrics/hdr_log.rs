//! HdrHistogram's interval log, version 1.3: a line for each histogram and interval, which the tools
//! around HdrHistogram read. Values are nanoseconds; the maximum in clear text is milliseconds.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use super::interval::Interval;

const NS_PER_MS: f64 = 1e6;

/// A log that is being written.
pub(crate) struct HdrLog<'a, W: Write> {
    log: IntervalLogWriter<'a, 'a, W, V2DeflateSerializer>,
}

impl<'a, W: Write> HdrLog<'a, W> {
    /// Writes the head of a log.
    pub(crate) fn begin(
        writer: &'a mut W,
        serializer: &'a mut V2DeflateSerializer,
        start: SystemTime,
    ) -> io::Result<Self> {
        let mut builder = IntervalLogWriterBuilder::new();
        builder
            .add_comment(concat!(
                "[Logged with vyr ",
                env!("CARGO_PKG_VERSION"),
                " metrics stream --hdr; values are nanoseconds]"
            ))
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(start)
            .with_max_value_divisor(NS_PER_MS);
        Ok(Self {
            log: builder.begin_log_with(writer, serializer)?,
        })
    }

    /// Writes the interval's histograms that are not empty.
    pub(crate) fn write(&mut self, interval: &Interval) -> anyhow::Result<()> {
        for (name, labels, histogram) in interval.histograms() {
            if histogram.buckets.is_empty() {
                continue;
            }
            let tag = tag(name, labels, interval);
            let written = self.log.write_histogram(
                &histogram.to_hdr(),
                Duration::from_millis(interval.start_unix_ms),
                Duration::from_millis(interval.length_ms),
                Tag::new(&tag),
            );
            written.map_err(|error| match error {
                // As itself, so that a closed pipe is seen as one.
                IntervalLogWriterError::IoError(error) => error.into(),
                error => anyhow::Error::from(error),
            })?;
        }
        Ok(())
    }
}

/// Metric, shard and labels, such as `vyr_task_seconds;shard=0;kind=http`.
fn tag(name: &str, labels: &[(String, String)], interval: &Interval) -> String {
    let mut tag = format!("{name};shard={}", interval.shard);
    for (label, value) in labels {
        tag.push_str(&format!(";{label}={value}"));
    }
    // What a tag cannot have; no label of VYR's own has it.
    tag.replace([',', ' ', '\r', '\n'], "_")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use vyr_client::ShardMetrics;
    use vyr_core::id::ShardNumber;
    use vyr_core::metrics::{Metric, Registry, Snapshot, Unit};

    use super::*;

    const TIMES: Metric = Metric {
        name: "vyr_task_seconds",
        unit: Unit::Seconds,
        help: "x",
    };

    #[test]
    fn a_log_reads_back_with_every_value() {
        let registry = Registry::new();
        let http = registry.histogram(&TIMES, &[("kind", "http")]);
        let _never_used = registry.histogram(&TIMES, &[("kind", "command")]);
        let moments = [1_700_000_000_250, 1_700_000_001_250, 1_700_000_001_750];
        let mut snapshots = Vec::new();
        for (turn, unix_ms) in moments.into_iter().enumerate() {
            (0..1000 * turn as u64).for_each(|i| http.record_ns(i * 977 + 1));
            snapshots.push(ShardMetrics {
                shard: ShardNumber(1),
                unix_ms,
                snapshot: registry.snapshot(),
            });
        }
        let mut bytes = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(moments[0]);
        let mut log = HdrLog::begin(&mut bytes, &mut serializer, start).expect("memory");
        for pair in snapshots.windows(2) {
            let interval = Interval::between(&pair[0], &pair[1]);
            log.write(&interval).expect("memory");
        }

        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(text.contains("#[Histogram log format version 1.3]\n#[StartTime: 1700000000.250 "));
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            let LogEntry::Interval(entry) = entry.expect("well formed") else {
                continue;
            };
            let encoded = base64_decoded(entry.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> = Deserializer::new()
                .deserialize(&mut encoded.as_slice())
                .expect("a histogram");
            let tag = entry.tag().expect("a tag").as_str().to_owned();
            read.push((tag, entry.start_timestamp(), entry.duration(), histogram));
        }
        assert_eq!(read.len(), 2, "the empty histograms are left out");
        for (turn, (tag, start, length, histogram)) in read.iter().enumerate() {
            assert_eq!(tag, "vyr_task_seconds;shard=1;kind=http");
            assert_eq!(*start, Duration::from_millis(moments[turn]));
            let length_ms = moments[turn + 1] - moments[turn];
            assert_eq!(*length, Duration::from_millis(length_ms));
            let interval = Interval::between(&snapshots[turn], &snapshots[turn + 1]);
            assert_eq!(histogram.len(), 1000 * (turn as u64 + 1));
            let expected = interval.histogram("vyr_task_seconds").to_hdr();
            assert_eq!(histogram, &expected);
        }
    }

    #[test]
    fn a_label_cannot_break_a_line() {
        let empty = |unix_ms| ShardMetrics {
            shard: ShardNumber(0),
            unix_ms,
            snapshot: Snapshot::default(),
        };
        let interval = Interval::between(&empty(0), &empty(1));
        let labels = [("a".to_owned(), "x y,\n".to_owned())];
        let tag = tag("m", &labels, &interval);
        assert_eq!(tag, "m;shard=0;a=x_y__");
        assert!(Tag::new(&tag).is_some());
    }

    fn base64_decoded(text: &str) -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .expect("base64")
    }
}

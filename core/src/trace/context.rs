//! Trace and span ids, and the `traceparent` header.
//!
//! W3C Trace Context, Recommendation of 23 November 2021: <https://www.w3.org/TR/trace-context-1/>.

use std::cell::Cell;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use crate::id::split_mix;

/// Identifies a trace; written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZeroU128);

/// Identifies a span; written as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// The id with these bits; none has the value 0.
    #[must_use]
    pub fn from_bits(bits: u128) -> Option<Self> {
        NonZeroU128::new(bits).map(Self)
    }

    /// The id as a number.
    #[must_use]
    pub fn to_bits(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// The id with these bits; none has the value 0.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// The id as a number.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a `traceparent` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// Whether the caller may have recorded the trace.
    pub sampled: bool,
}

/// A text that is not a valid `traceparent`. The receiver starts a trace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent; one is '00-' 32 hex digits '-' 16 hex digits '-' 2 hex digits")]
pub struct TraceParentError;

/// Length of `version-traceid-parentid-flags`.
const TRACEPARENT_BYTES: usize = 55;
const FLAG_SAMPLED: u8 = 1;

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// Section 3.2.2. Version `00` has exactly four fields. A later version is read as far as `00`
    /// goes, if more is set off by a dash; `ff` is invalid. Hex digits are lower case. The header
    /// may come once only, which the caller checks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.as_bytes();
        let (fields, more) = text
            .split_at_checked(TRACEPARENT_BYTES)
            .ok_or(TraceParentError)?;
        let version = hex(&fields[..2])?;
        let dashes = [2, 35, 52]
            .into_iter()
            .all(|position| fields[position] == b'-');
        let end = if version == 0 {
            more.is_empty()
        } else {
            matches!(more, [] | [b'-', ..])
        };
        if version == 0xff || !dashes || !end {
            return Err(TraceParentError);
        }
        let flags = hex(&fields[53..])?;
        Ok(Self {
            trace_id: TraceId::from_bits(hex(&fields[3..35])?).ok_or(TraceParentError)?,
            span_id: hex(&fields[36..52])?
                .try_into()
                .ok()
                .and_then(SpanId::from_bits)
                .ok_or(TraceParentError)?,
            sampled: flags & u128::from(FLAG_SAMPLED) != 0,
        })
    }
}

impl TraceParent {
    /// The header's value, version `00`; flags without a meaning there are 0.
    #[must_use]
    pub fn to_ascii(self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = [b'-'; TRACEPARENT_BYTES];
        write_hex(&mut text[..2], 0);
        write_hex(&mut text[3..35], self.trace_id.to_bits());
        write_hex(&mut text[36..52], self.span_id.to_bits().into());
        let flags = if self.sampled { FLAG_SAMPLED } else { 0 };
        write_hex(&mut text[53..], flags.into());
        text
    }
}

impl fmt::Display for TraceParent {
    /// As [`TraceParent::to_ascii`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).map_err(|_| fmt::Error)?)
    }
}

/// Writes the last digits of a number. Every request's trace is written, so this does without a formatter.
fn write_hex(digits: &mut [u8], mut bits: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(bits & 15) as usize];
        bits >>= 4;
    }
}

fn hex(digits: &[u8]) -> Result<u128, TraceParentError> {
    digits.iter().try_fold(0u128, |value, digit| match digit {
        b'0'..=b'9' => Ok(value << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Ok(value << 4 | u128::from(digit - b'a' + 10)),
        _ => Err(TraceParentError),
    })
}

/// The trace of one task, and the task's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The task's root span: the parent of its steps, and of what its guest calls.
    pub span_id: SpanId,
    /// The client's span, if the client named one.
    pub parent: Option<SpanId>,
    /// Whether the trace is exported.
    pub sampled: bool,
}

impl TraceContext {
    /// The context to hand on: the task's root span as a parent.
    #[must_use]
    pub fn to_parent(self) -> TraceParent {
        TraceParent {
            trace_id: self.trace_id,
            span_id: self.span_id,
            sampled: self.sampled,
        }
    }
}

impl fmt::Display for TraceContext {
    /// The value of the `traceparent` header to return and to hand on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_parent().fmt(f)
    }
}

/// Makes the trace and span ids of one shard. Not shared between shards.
#[derive(Debug)]
pub struct TraceIdSource {
    state: Cell<u64>,
    /// Traces of ours are sampled whose id's last 56 bits are below it.
    sampled_below: u64,
}

/// Bits of a trace id that decide on sampling, as OpenTelemetry's consistent probability sampling has it.
const SAMPLING_BITS: u32 = 56;

impl TraceIdSource {
    /// A source seeded by the operating system.
    ///
    /// # Errors
    /// When the operating system gives no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(Self::with_seed)
    }

    /// A source that repeats itself, for tests.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self {
            state: Cell::new(seed),
            sampled_below: 1 << SAMPLING_BITS,
        }
    }

    /// Samples this share, from 0 to 1, of the traces that begin here.
    #[must_use]
    pub fn sampling(mut self, ratio: f64) -> Self {
        // A float becomes an integer by saturation, so that nothing below 0 or above 1 does harm.
        self.sampled_below = ((1u64 << SAMPLING_BITS) as f64 * ratio.clamp(0.0, 1.0)) as u64;
        self
    }

    /// A new trace id.
    pub fn trace_id(&self) -> TraceId {
        loop {
            let bits = u128::from(self.next()) << 64 | u128::from(self.next());
            if let Some(id) = TraceId::from_bits(bits) {
                return id;
            }
        }
    }

    /// A new span id.
    pub fn span_id(&self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_bits(self.next()) {
                return id;
            }
        }
    }

    /// The trace of a new task: the client's, sampled as it says, when its `traceparent` is valid, else
    /// a new one.
    pub fn context(&self, traceparent: Option<&str>) -> TraceContext {
        let parent = traceparent.and_then(|text| text.parse::<TraceParent>().ok());
        let trace_id = parent.map_or_else(|| self.trace_id(), |parent| parent.trace_id);
        TraceContext {
            trace_id,
            span_id: self.span_id(),
            parent: parent.map(|parent| parent.span_id),
            sampled: parent.map_or_else(|| self.samples(trace_id), |parent| parent.sampled),
        }
    }

    fn samples(&self, trace_id: TraceId) -> bool {
        (trace_id.to_bits() as u64) & ((1 << SAMPLING_BITS) - 1) < self.sampled_below
    }

    fn next(&self) -> u64 {
        let mut state = self.state.get();
        let number = split_mix(&mut state);
        self.state.set(state);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn traceparent_is_read_as_the_recommendation_says() {
        let whole = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let zeros = "0".repeat(32);
        let cases: Vec<(&str, String, Option<bool>)> = vec![
            ("sampled", whole("01"), Some(true)),
            ("not sampled", whole("00"), Some(false)),
            ("unknown flags are ignored", whole("ff"), Some(true)),
            ("unknown flags alone", whole("fe"), Some(false)),
            ("upper-case flags", whole("0A"), None),
            ("flags of one digit", whole("1"), None),
            ("flags of three digits", whole("001"), None),
            ("empty", String::new(), None),
            ("space before", format!(" {}", whole("01")), None),
            ("space after", format!("{} ", whole("01")), None),
            ("version 00 with more", format!("{}-", whole("01")), None),
            (
                "version 00 with more fields",
                format!("{}-what", whole("01")),
                None,
            ),
            ("version ff", format!("ff-{TRACE}-{SPAN}-01"), None),
            ("version not hex", format!("0x-{TRACE}-{SPAN}-01"), None),
            ("version upper case", format!("CC-{TRACE}-{SPAN}-01"), None),
            ("version of one digit", format!("0-{TRACE}-{SPAN}-01"), None),
            (
                "version of three digits",
                format!("000-{TRACE}-{SPAN}-01"),
                None,
            ),
            ("later version", format!("cc-{TRACE}-{SPAN}-01"), Some(true)),
            (
                "later version with more",
                format!("cc-{TRACE}-{SPAN}-01-what"),
                Some(true),
            ),
            (
                "later version, a dash only",
                format!("cc-{TRACE}-{SPAN}-00-"),
                Some(false),
            ),
            (
                "later version, more without dash",
                format!("cc-{TRACE}-{SPAN}-01.what"),
                None,
            ),
            (
                "later version, long flags",
                format!("cc-{TRACE}-{SPAN}-011"),
                None,
            ),
            (
                "later version, huge",
                format!("01-{TRACE}-{SPAN}-01-{zeros}"),
                Some(true),
            ),
            ("trace id of zeros", format!("00-{zeros}-{SPAN}-01"), None),
            (
                "trace id upper case",
                format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
                None,
            ),
            (
                "trace id not hex",
                format!("00-{}.-{SPAN}-01", &TRACE[..31]),
                None,
            ),
            (
                "trace id short",
                format!("00-{}-{SPAN}-01", &TRACE[..31]),
                None,
            ),
            ("trace id long", format!("00-{TRACE}0-{SPAN}-01"), None),
            (
                "span id of zeros",
                format!("00-{TRACE}-{}-01", &zeros[..16]),
                None,
            ),
            (
                "span id upper case",
                format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
                None,
            ),
            (
                "span id not hex",
                format!("00-{TRACE}-{}.-01", &SPAN[..15]),
                None,
            ),
            (
                "span id short",
                format!("00-{TRACE}-{}-01", &SPAN[..15]),
                None,
            ),
            ("span id long", format!("00-{TRACE}-{SPAN}0-01"), None),
            ("no dashes", format!("00_{TRACE}_{SPAN}_01"), None),
            (
                "sign instead of a digit",
                format!("00-+{}-{SPAN}-01", &TRACE[1..]),
                None,
            ),
            ("beyond ASCII", format!("00-{TRACE}-{SPAN}-é"), None),
            (
                "beyond ASCII at the end",
                format!("cc-{TRACE}-{SPAN}-0é"),
                None,
            ),
        ];
        for (case, text, sampled) in cases {
            let parsed = text.parse::<TraceParent>().ok();
            assert_eq!(
                parsed.map(|parent| parent.sampled),
                sampled,
                "{case}: '{text}'"
            );
            if let Some(parent) = parsed {
                assert_eq!(parent.trace_id.to_string(), TRACE, "{case}");
                assert_eq!(parent.span_id.to_string(), SPAN, "{case}");
            }
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for sampled in [true, false] {
            let text = format!("00-{TRACE}-{SPAN}-{}", if sampled { "01" } else { "00" });
            assert_eq!(
                text.parse::<TraceParent>().map(|parent| parent.to_string()),
                Ok(text)
            );
        }
        let text = format!("cc-{TRACE}-{SPAN}-ff-more");
        let parent: TraceParent = text.parse().expect("a later version is read");
        assert_eq!(parent.to_string(), format!("00-{TRACE}-{SPAN}-01"));
    }

    #[test]
    fn a_task_continues_its_clients_trace_or_starts_one() {
        let source = TraceIdSource::with_seed(1);
        let own = source.context(Some("nonsense"));
        assert!(own.sampled && own.parent.is_none());
        let text = format!("00-{TRACE}-{SPAN}-00");
        let context = source.context(Some(&text));
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert_eq!(
            context.parent.map(|span| span.to_string()).as_deref(),
            Some(SPAN)
        );
        assert!(!context.sampled);
        assert_ne!(context.span_id.to_string(), SPAN);
        assert_eq!(
            context.to_string(),
            format!("00-{TRACE}-{}-00", context.span_id)
        );
    }

    #[test]
    fn a_share_of_the_traces_that_begin_here_is_sampled() {
        let sampled = |ratio: f64, parent: Option<&str>| {
            let source = TraceIdSource::with_seed(7).sampling(ratio);
            (0..10_000)
                .filter(|_| source.context(parent).sampled)
                .count()
        };
        assert_eq!((sampled(0.0, None), sampled(1.0, None)), (0, 10_000));
        let tenth = sampled(0.1, None);
        assert!((900..1100).contains(&tenth), "{tenth} of 10000");
        // What the client decided holds, whatever the ratio.
        let parent = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(sampled(0.0, Some(&parent)), 10_000);
    }

    #[test]
    fn ids_differ() {
        let (one, two) = (
            TraceIdSource::new().expect("random"),
            TraceIdSource::new().expect("random"),
        );
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            assert!(seen.insert(one.trace_id().to_bits()) && seen.insert(two.trace_id().to_bits()));
            assert!(seen.insert(one.span_id().to_bits().into()));
        }
    }
}

//! What guests tell of their own on its way to the exporter: encoded where it is told, so that what waits
//! is as large as it is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use vyr_core::limits::{GUEST_EVENTS_WAITING_BYTES_MAX, GUEST_EVENTS_WAITING_MAX};

use super::protobuf::put_bytes;
use super::transport::Signal;

/// Events of one request.
const BATCH_EVENTS_MAX: usize = 512;
/// What they are together, bytes: collectors take 4 MiB over gRPC.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Span,
    Log,
}

impl EventKind {
    pub(super) const ALL: [Self; 2] = [Self::Span, Self::Log];

    pub(super) fn signal(self) -> Signal {
        match self {
            Self::Span => Signal::Traces,
            Self::Log => Signal::Logs,
        }
    }
}

/// A span or a log record of a guest.
#[derive(Debug)]
pub(crate) struct GuestEvent {
    pub(crate) kind: EventKind,
    /// An `InstrumentationScope`, encoded.
    pub(crate) scope: Vec<u8>,
    /// A `Span` or a `LogRecord`, encoded.
    pub(crate) message: Vec<u8>,
}

impl GuestEvent {
    fn bytes(&self) -> usize {
        self.scope.len() + self.message.len()
    }
}

/// What became of guests' own spans and log records so far. Those under way are not counted yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Spans that the collector has taken.
    pub spans_exported: u64,
    /// Spans that were too many, or that the collector did not take.
    pub spans_dropped: u64,
    /// Spans of traces that are not exported.
    pub spans_unsampled: u64,
    /// Log records that the collector has taken.
    pub logs_exported: u64,
    /// Log records that were too many, or that the collector did not take.
    pub logs_dropped: u64,
}

#[derive(Debug, Default)]
struct Shared {
    waiting_bytes: AtomicUsize,
    exported: [AtomicU64; 2],
    dropped: [AtomicU64; 2],
    spans_unsampled: AtomicU64,
}

impl Shared {
    fn drop_events(&self, kind: EventKind, count: usize) {
        self.dropped[kind as usize].fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The executor's end. Sending never waits.
#[derive(Debug)]
pub(crate) struct EventSender {
    sender: mpsc::Sender<GuestEvent>,
    shared: Arc<Shared>,
}

/// The exporting thread's end.
#[derive(Debug)]
pub(super) struct EventReceiver {
    receiver: mpsc::Receiver<GuestEvent>,
    shared: Arc<Shared>,
    /// The event that did not fit the batch before.
    next: Option<GuestEvent>,
}

/// Events of one kind, as one request.
pub(super) struct EventBatch {
    pub(super) kind: EventKind,
    pub(super) events: usize,
    /// `ScopeSpans` or `ScopeLogs`, each as a field of what is around them.
    pub(super) scopes: Vec<u8>,
}

pub(super) fn channel() -> (Arc<EventSender>, EventReceiver) {
    let (sender, receiver) = mpsc::channel(GUEST_EVENTS_WAITING_MAX);
    let shared = Arc::new(Shared::default());
    let sender = EventSender {
        sender,
        shared: Arc::clone(&shared),
    };
    let receiver = EventReceiver {
        receiver,
        shared,
        next: None,
    };
    (Arc::new(sender), receiver)
}

impl EventSender {
    /// Sends an event; one for which there is no room is dropped and counted.
    pub(crate) fn send(&self, event: GuestEvent) {
        let (kind, bytes) = (event.kind, event.bytes());
        let waiting = &self.shared.waiting_bytes;
        let fits = waiting.load(Ordering::Relaxed) + bytes <= GUEST_EVENTS_WAITING_BYTES_MAX;
        // Counted before it is sent: the other thread counts it back as soon as it is there.
        waiting.fetch_add(bytes, Ordering::Relaxed);
        if !fits || self.sender.try_send(event).is_err() {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.drop_event(kind);
        }
    }

    /// Counts an event that was not even made.
    pub(crate) fn drop_event(&self, kind: EventKind) {
        self.shared.drop_events(kind, 1);
    }

    /// Counts a span of a trace that is not exported.
    pub(crate) fn span_unsampled(&self) {
        self.shared.spans_unsampled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> EventTotals {
        let count = |counts: &[AtomicU64; 2], kind| {
            let count: &AtomicU64 = &counts[kind as usize];
            count.load(Ordering::Relaxed)
        };
        EventTotals {
            spans_exported: count(&self.shared.exported, EventKind::Span),
            spans_dropped: count(&self.shared.dropped, EventKind::Span),
            spans_unsampled: self.shared.spans_unsampled.load(Ordering::Relaxed),
            logs_exported: count(&self.shared.exported, EventKind::Log),
            logs_dropped: count(&self.shared.dropped, EventKind::Log),
        }
    }
}

impl EventReceiver {
    pub(super) fn waiting(&self) -> usize {
        self.receiver.len() + usize::from(self.next.is_some())
    }

    /// Whether what waits fills a batch.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() >= BATCH_EVENTS_MAX
            || self.shared.waiting_bytes.load(Ordering::Relaxed) >= BATCH_BYTES_MAX
    }

    /// Takes the oldest events, of each kind a batch.
    pub(super) fn take(&mut self) -> Vec<EventBatch> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < BATCH_EVENTS_MAX {
            let Some(event) = self.next.take().or_else(|| self.receiver.try_recv().ok()) else {
                break;
            };
            if bytes + event.bytes() > BATCH_BYTES_MAX && !events.is_empty() {
                self.next = Some(event);
                break;
            }
            bytes += event.bytes();
            events.push(event);
        }
        self.shared
            .waiting_bytes
            .fetch_sub(bytes, Ordering::Relaxed);
        let batches = EventKind::ALL.map(|kind| batch(kind, &events));
        batches.into_iter().flatten().collect()
    }

    pub(super) fn count(&self, batch: &EventBatch, dropped: usize) {
        self.shared.drop_events(batch.kind, dropped);
        self.shared.exported[batch.kind as usize]
            .fetch_add((batch.events - dropped) as u64, Ordering::Relaxed);
    }

    /// Counts what cannot be sent any more, and what comes after.
    pub(super) fn drop_rest(&mut self) -> usize {
        self.receiver.close();
        let mut rest = 0;
        loop {
            let batches = self.take();
            if batches.is_empty() {
                return rest;
            }
            for batch in batches {
                rest += batch.events;
                self.count(&batch, batch.events);
            }
        }
    }
}

/// Events of the same scope that come one after the other share it.
fn batch(kind: EventKind, events: &[GuestEvent]) -> Option<EventBatch> {
    let chosen: Vec<&GuestEvent> = events.iter().filter(|event| event.kind == kind).collect();
    let mut scopes = Vec::new();
    for same in chosen.chunk_by(|a, b| a.scope == b.scope) {
        let mut scope = Vec::new();
        put_bytes(&mut scope, 1, &same[0].scope);
        for event in same {
            put_bytes(&mut scope, 2, &event.message);
        }
        put_bytes(&mut scopes, 2, &scope);
    }
    (!chosen.is_empty()).then_some(EventBatch {
        kind,
        events: chosen.len(),
        scopes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, bytes: usize) -> GuestEvent {
        GuestEvent {
            kind,
            scope: Vec::new(),
            message: vec![0; bytes],
        }
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let (sender, mut receiver) = channel();
        for _ in 0..=GUEST_EVENTS_WAITING_MAX {
            sender.send(event(EventKind::Log, 1));
        }
        assert_eq!(sender.totals().logs_dropped, 1, "one too many");
        assert_eq!(receiver.drop_rest(), GUEST_EVENTS_WAITING_MAX);
        assert_eq!(
            sender.totals().logs_dropped,
            GUEST_EVENTS_WAITING_MAX as u64 + 1
        );
        sender.send(event(EventKind::Span, 1));
        assert_eq!(sender.totals().spans_dropped, 1, "nobody reads any more");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (sender, mut receiver) = channel();
        let large = GUEST_EVENTS_WAITING_BYTES_MAX / 8;
        for _ in 0..9 {
            sender.send(event(EventKind::Span, large));
        }
        assert_eq!(sender.totals().spans_dropped, 1);
        let taken = receiver.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].events, 1, "a batch is bounded as well");
        receiver.count(&taken[0], 0);
        sender.send(event(EventKind::Span, large));
        let totals = sender.totals();
        assert_eq!((totals.spans_exported, totals.spans_dropped), (1, 1));
        assert_eq!(receiver.waiting(), 8);
    }

    #[test]
    fn each_kind_goes_its_own_way() {
        let (sender, mut receiver) = channel();
        for kind in [EventKind::Log, EventKind::Span, EventKind::Log] {
            sender.send(event(kind, 5));
        }
        let batches = receiver.take();
        let counts: Vec<_> = batches
            .iter()
            .map(|batch| (batch.kind, batch.events))
            .collect();
        assert_eq!(counts, [(EventKind::Span, 1), (EventKind::Log, 2)]);
        assert_eq!(receiver.waiting(), 0);
    }
}

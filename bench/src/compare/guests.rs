//! The guests and the data that servers are compared with.

/// Answers every request with fourteen bytes.
pub(super) const HELLO: &[u8] = include_bytes!("../../../workloads/artifacts/hello.wasm");
/// The same, and grows its memory by a page each time.
pub(super) const HELLO_GROW: &[u8] = include_bytes!("../../../workloads/artifacts/hello-grow.wasm");
/// Enriches flight events.
pub(super) const EVENT_TRANSFORM: &[u8] =
    include_bytes!("../../../workloads/artifacts/event-transform.wasm");
/// Misbehaves in the way that it is asked to.
pub(super) const PROBE: &[u8] = include_bytes!("../../../workloads/artifacts/probe.wasm");
/// Reads and writes states in the way that it is asked to.
pub(super) const STATE_PROBE: &[u8] =
    include_bytes!("../../../workloads/artifacts/state-probe.wasm");
/// Flight events, one a line.
pub(super) const EVENTS: &[u8] = include_bytes!("../../../workloads/data/flights-sample.ndjson");

/// The first `count` events, with their line feeds.
pub(super) fn events(count: usize) -> &'static [u8] {
    let ends = EVENTS
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n');
    let end = ends.map(|(at, _)| at + 1).nth(count - 1);
    &EVENTS[..end.unwrap_or(EVENTS.len())]
}

/// The same component with another digest: a custom section, which no host looks at, tells them
/// apart.
pub(super) fn marked(component: &[u8], mark: u8) -> Vec<u8> {
    const NAME: &[u8] = b"mark";
    let content = [&[NAME.len() as u8], NAME, &[mark]].concat();
    [component, &[0, content.len() as u8], &content].concat()
}

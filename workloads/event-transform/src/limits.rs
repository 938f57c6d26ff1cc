//! Bounds on what is read and kept.

/// The longest line taken, without its line feed. A flight event has about 350 bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// How much of a malformed line a dead letter carries.
pub const DEAD_LETTER_INPUT_BYTES_MAX: usize = 1024;

/// How deeply arrays and objects may be nested; the event itself is the first level.
pub const JSON_DEPTH_MAX: u32 = 64;

/// The largest body taken for one event or a batch. A stream has no such bound.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest CloudEvent: a dead letter whose input is all control characters, each six bytes long
/// when escaped, with about 700 bytes around it.
pub const EVENT_BYTES_MAX: usize = 8 * 1024;

/// When this much output has gathered it is handed on.
pub const OUTPUT_CHUNK_BYTES: usize = 64 * 1024;

const _: () = assert!(DEAD_LETTER_INPUT_BYTES_MAX <= LINE_BYTES_MAX);
const _: () = assert!(DEAD_LETTER_INPUT_BYTES_MAX * 6 + 1024 <= EVENT_BYTES_MAX);
const _: () = assert!(LINE_BYTES_MAX <= OUTPUT_CHUNK_BYTES && OUTPUT_CHUNK_BYTES <= BODY_BYTES_MAX);

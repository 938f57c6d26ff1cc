//! Bounds on what is read, kept in memory and sent.

/// The longest line taken, without its line feed. A weather reading has about 220 bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// How much is asked for in one read of standard input.
pub const INPUT_CHUNK_BYTES: usize = 64 * 1024;

/// Readings that are written to the store in one call. After a kill, this many numbers beyond the last
/// reading are searched for the remains of a call that was cut off, so it must not shrink between two
/// versions that share a bucket.
pub const GROUP_READINGS_MAX: usize = 256;

/// Readings that are fetched from the store in one call: few enough that the longest ones fit into the
/// 2 MiB that a host may set as the bound of a call. What is written in one call is bounded by what is
/// read from the input in one.
pub const FETCH_READINGS_MAX: usize = 64;

/// Stations known to one bucket. The ledger names each of them.
pub const STATIONS_MAX: usize = 1024;

/// The longest name of a station.
pub const STATION_BYTES_MAX: usize = 64;

/// The most that `--batch-readings` may ask for.
pub const BATCH_READINGS_MAX: u64 = 10_000;

/// When a batch has this many bytes no further reading is put into it.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Malformed lines that are reported one by one; the others are only counted.
pub const MALFORMED_REPORTS_MAX: u64 = 10;

/// How long connecting may take.
pub const CONNECT_MS_MAX: u64 = 3_000;

/// How long the answer's first byte may take.
pub const FIRST_BYTE_MS_MAX: u64 = 5_000;

/// How long one request may take altogether. The collector keeps this time itself, since a host need
/// not support the other two.
pub const REQUEST_MS_MAX: u64 = 10_000;

/// The first pause after a failed request; each further one is twice as long.
pub const RETRY_MS_MIN: u64 = 50;

/// The most that `--retry-ms-max` may ask for.
pub const RETRY_MS_MAX: u64 = 3_600_000;

/// The most that `--drain` may ask for.
pub const DRAIN_SECONDS_MAX: u64 = 7 * 24 * 3_600;

const _: () = assert!(LINE_BYTES_MAX <= INPUT_CHUNK_BYTES && LINE_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(FETCH_READINGS_MAX * LINE_BYTES_MAX <= 1024 * 1024);
const _: () = assert!(CONNECT_MS_MAX <= REQUEST_MS_MAX && FIRST_BYTE_MS_MAX <= REQUEST_MS_MAX);
const _: () = assert!(RETRY_MS_MIN <= RETRY_MS_MAX);

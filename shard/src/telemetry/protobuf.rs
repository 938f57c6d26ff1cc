//! Writes protocol buffers (<https://protobuf.dev/programming-guides/encoding/>): the few shapes that
//! spans need.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// Adds a text, bytes, or a message that is encoded already.
pub(super) fn put_bytes(buffer: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_head(buffer, field, value.len());
    buffer.extend_from_slice(value);
}

/// Adds what stands before a text, bytes or a message of this length: at most 20 bytes.
pub(super) fn put_head(buffer: &mut Vec<u8>, field: u64, length: usize) {
    put_varint(buffer, field << 3 | LENGTH_DELIMITED);
    put_varint(buffer, length as u64);
}

/// Adds a boolean, an enum, or a number that is not negative.
pub(super) fn put_number(buffer: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(buffer, field << 3 | VARINT);
    put_varint(buffer, value);
}

/// Adds a number of eight bytes.
pub(super) fn put_fixed64(buffer: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(buffer, field << 3 | FIXED64);
    buffer.extend_from_slice(&value.to_le_bytes());
}

/// Adds a number of four bytes.
pub(super) fn put_fixed32(buffer: &mut Vec<u8>, field: u64, value: u32) {
    put_varint(buffer, field << 3 | FIXED32);
    buffer.extend_from_slice(&value.to_le_bytes());
}

fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

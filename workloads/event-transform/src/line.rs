//! Output under construction: a fixed buffer with a mark, filled without growing.
//!
//! Copies of constant length become a few moves, and table texts are padded so that they can be
//! copied in blocks: a call into the host's copy routine for each of forty short pieces would cost
//! more than the pieces.

use crate::limits::{EVENT_BYTES_MAX, OUTPUT_CHUNK_BYTES};

/// What table texts are padded to a multiple of.
pub(crate) const BLOCK_BYTES: usize = 32;

/// A text whose room is a multiple of [`BLOCK_BYTES`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Padded {
    pub(crate) blocks: &'static [[u8; BLOCK_BYTES]],
    pub(crate) length: u16,
}

/// Output that has gathered. After [`Output::has_room`] one event may be put without a check.
pub(crate) struct Output {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Output {
    /// A buffer for a chunk of events.
    pub(crate) fn for_a_stream() -> Self {
        Self { bytes: vec![0; OUTPUT_CHUNK_BYTES + EVENT_BYTES_MAX].into_boxed_slice(), filled: 0 }
    }

    /// A buffer for one event.
    pub(crate) fn for_one_event() -> Self {
        Self { bytes: vec![0; EVENT_BYTES_MAX].into_boxed_slice(), filled: 0 }
    }

    /// Whether one more event fits, whatever it is.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.filled + EVENT_BYTES_MAX <= self.bytes.len()
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Puts a text of constant length.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, text: &[u8; N]) {
        self.bytes[self.filled..self.filled + N].copy_from_slice(text);
        self.filled += N;
    }

    #[inline(always)]
    pub(crate) fn put_byte(&mut self, byte: u8) {
        self.bytes[self.filled] = byte;
        self.filled += 1;
    }

    /// Puts a table text, block by block; what is beyond its length is overwritten by what follows.
    #[inline(always)]
    pub(crate) fn put_padded(&mut self, text: &Padded) {
        let room = &mut self.bytes[self.filled..self.filled + text.blocks.len() * BLOCK_BYTES];
        for (to, from) in room.chunks_exact_mut(BLOCK_BYTES).zip(text.blocks) {
            to.copy_from_slice(from);
        }
        self.filled += usize::from(text.length);
    }

    /// Puts the first bytes of a short text.
    #[inline(always)]
    pub(crate) fn put_start<const N: usize>(&mut self, text: &[u8; N], length: usize) {
        self.bytes[self.filled..self.filled + N].copy_from_slice(text);
        self.filled += length;
    }

    /// Puts any text.
    pub(crate) fn put_slice(&mut self, text: &[u8]) {
        self.bytes[self.filled..self.filled + text.len()].copy_from_slice(text);
        self.filled += text.len();
    }
}

//! Where a key belongs: a hash that clients cannot predict.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_secret;

const SECRET_BYTES: usize = 192;

/// The secret of one shard process, without which nobody can choose keys that collide.
#[derive(Clone)]
pub struct Secret(Rc<[u8; SECRET_BYTES]>);

impl Secret {
    /// A secret made of `random`, which should come from the operating system.
    #[must_use]
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(Rc::new(random))
    }

    /// The first bits choose the segment, the others the place in its index.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_secret(key, &*self.0)
    }
}

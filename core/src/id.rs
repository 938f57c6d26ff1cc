//! Ids of tasks and states: they sort by time and name the shard that owns what they identify.
//!
//! An id is 128 bits, written as a prefix letter (`t` task, `s` state) and 26 lower-case Crockford
//! base32 digits, most significant first, so that text order is time order:
//!
//! | bits | field |
//! |---|---|
//! | 48 | time of making, milliseconds since the Unix epoch |
//! | 10 | shard |
//! | 14 | life of the shard process: 0 at node start, one more at each restart of that shard |
//! | 24 | sequence within the shard process |
//! | 32 | random, so that ids cannot be guessed from one another |
//!
//! Routing a request is therefore a pure function of the id, and a shard that was restarted knows
//! the ids of its earlier lives without having kept anything.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of a shard on its node, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardNumber(pub u16);

impl fmt::Display for ShardNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of a shard process made an id: 0 at node start, one more at each restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardLife(pub u16);

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_DIGITS: usize = 26;
const TEXT_BYTES: usize = 1 + TEXT_DIGITS;

const SHARD_BITS: u32 = 10;
const LIFE_BITS: u32 = 14;
const SEQUENCE_BITS: u32 = 24;
const RANDOM_BITS: u32 = 32;
const LIFE_SHIFT: u32 = SEQUENCE_BITS + RANDOM_BITS;
const SHARD_SHIFT: u32 = LIFE_SHIFT + LIFE_BITS;
const TIME_SHIFT: u32 = SHARD_SHIFT + SHARD_BITS;
const _: () = assert!(TIME_SHIFT == 80, "48 bits stay for the time");

/// The most shards one node can have; ids have no room for more.
pub const SHARDS_MAX: u16 = 1 << SHARD_BITS;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $error:ident, $made_at:ident,
       prefix $prefix:literal, called $called:literal, printed by $command:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The shard that owns it.
            #[must_use]
            pub fn shard(self) -> ShardNumber {
                ShardNumber(((self.0 >> SHARD_SHIFT) as u16) & (SHARDS_MAX - 1))
            }

            /// The life of the shard process that made it.
            #[must_use]
            pub fn life(self) -> ShardLife {
                ShardLife(((self.0 >> LIFE_SHIFT) as u16) & ((1 << LIFE_BITS) - 1))
            }

            /// When it was made, to the millisecond.
            #[must_use]
            pub fn $made_at(self) -> SystemTime {
                UNIX_EPOCH + Duration::from_millis((self.0 >> TIME_SHIFT) as u64)
            }

            /// The id as a number, for fixed-size records.
            #[must_use]
            pub fn to_bits(self) -> u128 {
                self.0
            }

            /// The id as text.
            #[must_use]
            pub fn to_ascii(self) -> [u8; TEXT_BYTES] {
                text_of($prefix, self.0)
            }

            /// The id that `to_bits` gave.
            #[must_use]
            pub fn from_bits(bits: u128) -> Self {
                Self(bits)
            }
        }

        impl From<IdBits> for $name {
            fn from(bits: IdBits) -> Self {
                Self(bits.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(std::str::from_utf8(&self.to_ascii()).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[doc = concat!("A text that is not ", $called, " id.")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error(
            "'{text}' is not {called} id; an id is '{prefix}' and 26 base32 digits, as '{command}' prints it",
            called = $called, prefix = $prefix as char, command = $command
        )]
        pub struct $error {
            text: String,
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                bits_of($prefix, text).map(Self).ok_or_else(|| $error {
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Identifies one task of one node.
    TaskId, TaskIdError, submitted_at, prefix b't', called "a task", printed by "vyr task ls";
    /// Identifies one state of one node.
    StateId, StateIdError, created_at, prefix b's', called "a state", printed by "vyr state ls";
}

fn text_of(prefix: u8, mut bits: u128) -> [u8; TEXT_BYTES] {
    let mut text = [prefix; TEXT_BYTES];
    for digit in text[1..].iter_mut().rev() {
        *digit = DIGITS[(bits & 31) as usize];
        bits >>= 5;
    }
    text
}

fn bits_of(prefix: u8, text: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix as char)?;
    // The first digit holds only three bits of the 128.
    if digits.len() != TEXT_DIGITS || digits.as_bytes()[0] > b'7' {
        return None;
    }
    digits.bytes().try_fold(0, |bits, byte| {
        let digit = DIGITS.iter().position(|&d| d == byte)?;
        Some(bits << 5 | digit as u128)
    })
}

/// The number of a new id, which an [`IdSource`] makes.
#[derive(Debug)]
pub struct IdBits(u128);

/// Makes the ids of tasks.
pub type TaskIdSource = IdSource<TaskId>;
/// Makes the ids of states.
pub type StateIdSource = IdSource<StateId>;

/// Makes the ids of one shard process. Not shared between shards.
#[derive(Debug)]
pub struct IdSource<I> {
    shard: ShardNumber,
    life: ShardLife,
    sequence: u32,
    random: u64,
    makes: PhantomData<I>,
}

impl<I: From<IdBits>> IdSource<I> {
    /// A source for one life of one shard; `seed` should come from the operating system.
    ///
    /// # Panics
    /// When the shard number is not below [`SHARDS_MAX`].
    #[must_use]
    pub fn new(shard: ShardNumber, life: ShardLife, seed: u64) -> Self {
        assert!(
            shard.0 < SHARDS_MAX,
            "a node has at most {SHARDS_MAX} shards"
        );
        let life = ShardLife(life.0 & ((1 << LIFE_BITS) - 1));
        Self {
            shard,
            life,
            sequence: 0,
            random: seed,
            makes: PhantomData,
        }
    }

    /// The next id, for what is made `now`.
    pub fn next(&mut self, now: SystemTime) -> I {
        let millis = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        self.sequence = (self.sequence + 1) & ((1 << SEQUENCE_BITS) - 1);
        I::from(IdBits(
            (millis & ((1 << 48) - 1)) << TIME_SHIFT
                | u128::from(self.shard.0) << SHARD_SHIFT
                | u128::from(self.life.0) << LIFE_SHIFT
                | u128::from(self.sequence) << RANDOM_BITS
                | u128::from(split_mix(&mut self.random) as u32),
        ))
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): fast numbers that need not be secret.
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(shard: u16, life: u16) -> TaskIdSource {
        TaskIdSource::new(ShardNumber(shard), ShardLife(life), 7)
    }

    #[test]
    fn an_id_says_when_where_and_in_which_life_it_was_made() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        let id = source(1023, 16_383).next(now);
        assert_eq!(id.shard(), ShardNumber(1023));
        assert_eq!(id.life(), ShardLife(16_383));
        assert_eq!(id.submitted_at(), now);
    }

    #[test]
    fn text_round_trips_and_sorts_by_time() {
        let mut source = source(3, 1);
        let early = source.next(UNIX_EPOCH + Duration::from_secs(1));
        let late = source.next(UNIX_EPOCH + Duration::from_secs(2));
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early.to_string() < late.to_string());
        assert!(early < late);
    }

    #[test]
    fn an_id_of_a_state_is_not_one_of_a_task() {
        let id = StateIdSource::new(ShardNumber(3), ShardLife(1), 7).next(UNIX_EPOCH);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!((id.shard(), id.life()), (ShardNumber(3), ShardLife(1)));
        let error = text.parse::<TaskId>().expect_err("a state's");
        assert!(error.to_string().contains("not a task id"), "{error}");
        assert!(text.replace('s', "t").parse::<StateId>().is_err());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "t",
            "t0",
            "s00000000000000000000000000",
            "t8zzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        assert!("t0000000000000000000000000U".parse::<TaskId>().is_err());
        assert!("t0000000000000000000000000é".parse::<TaskId>().is_err());
    }
}

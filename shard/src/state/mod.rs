//! The state kernel: keys and values that live in the memory of one shard for as long as tasks
//! that are bound to them.
//!
//! From the outside in:
//!
//! - [`SharedStates`] is what tasks and requests of a shard use; `TaskBindings` is what one task keeps
//!   of it, and `other.rs` is the way to the states of other shards.
//! - [`States`] and all below is plain data, without executor, engine, lock or clock: every call is one
//!   turn of the shard, and time comes in as monotonic nanoseconds. It holds the states of a shard and
//!   their lifetimes; `operations.rs` reads and writes their keys.
//! - A `Table` holds one state's keys. It grows by splitting one segment at a time.
//! - A `Segment` is a few hundred keys with their values, in one piece of memory.
//!
//! Invariants:
//! - Only an [`Access`] reaches keys, and only [`States`] makes one: for a binding, or for a client
//!   that knows the id.
//! - The work of every call is bounded, whatever the size of a state: growing splits segments,
//!   listing goes by pages, a state that has ended is freed by [`States::free_some`] in steps.
//! - What is counted against the shard's bounds is what has not been freed yet.

mod bindings;
mod call;
mod error;
mod hash;
mod operations;
mod other;
mod segment;
mod shared;
mod states;
mod table;

pub(crate) use bindings::{Bound, TaskBindings};
pub use call::{Call, Refused, Reply};
pub use error::StateError;
pub use hash::Secret;
pub use operations::Page;
pub use other::{OtherRequest, OtherShards, What};
pub use segment::Record;
pub use shared::SharedStates;
pub use states::{Access, Binding, States, Usage};

#[cfg(test)]
mod tests;

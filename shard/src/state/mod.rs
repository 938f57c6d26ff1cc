//! The state kernel: keys and values that live in the memory of one shard for as long as tasks
//! that are bound to them.
//!
//! It is plain data, without executor, engine, lock or clock: every call is one turn of the shard,
//! and time comes in as monotonic nanoseconds. From the outside in:
//!
//! - [`States`] holds the states of a shard and their lifetimes; `operations.rs` reads and writes
//!   their keys. [`TaskBindings`] is what one task keeps of it.
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
mod error;
mod hash;
mod operations;
mod segment;
mod states;
mod table;

pub use bindings::TaskBindings;
pub use error::StateError;
pub use hash::Secret;
pub use operations::Page;
pub use segment::Record;
pub use states::{Access, Binding, States, Usage};

#[cfg(test)]
mod tests;

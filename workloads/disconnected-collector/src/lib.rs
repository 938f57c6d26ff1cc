//! Reference workload 2 without WebAssembly: sensor readings are kept in a key-value bucket and
//! delivered upstream in batches, each exactly once as seen by a sink that knows batches again.
//!
//! [`Collector`] is what is kept and in which order it is written; [`Uplink`] is when to send; the
//! component adds the streams, the clock and HTTP. `README.md` says what it does for whom.
//!
//! Invariants: no reading is dropped that was accepted, and none is accepted that was not kept; a
//! task may be killed between any two calls of the [`Store`], or within one that writes many keys,
//! and a new task on the same bucket goes on from there; memory is bounded by [`limits`], whatever
//! the input and however many readings are held.

mod collector;
mod ledger;
mod lines;
mod reading;
mod settings;
mod stations;
mod store;
mod summary;
mod uplink;

pub mod limits;

pub use collector::{Batch, Collector, Counts, Error};
pub use reading::Malformed;
pub use settings::{Scheme, Settings, SettingsError, USAGE, Upstream};
pub use store::{Store, StoreError};
pub use summary::Summary;
pub use uplink::Uplink;

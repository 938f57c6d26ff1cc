//! The vocabulary every part of VYR shares, and the artifact model.
//!
//! Nothing here knows an executor, a Wasm engine or HTTP. The only I/O is files of the artifact store.

pub mod artifact;
pub mod digest;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod problem;
pub mod state;
pub mod task;
pub mod trace;

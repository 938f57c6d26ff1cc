//! Reference workload 1 without WebAssembly: flight events in, CloudEvents out.
//!
//! [`Transformer`] takes a stream of bytes with one JSON object a line and gives one CloudEvent a
//! line; [`body`] does the same for the bodies of HTTP requests. What an event must look like and
//! what comes out is written in `README.md`; `reference/reference.py` is a second implementation of
//! it that shares no code.
//!
//! Invariants: the output depends on the input alone (no clock, no environment, no randomness);
//! memory is bounded by [`limits`], whatever the input; no input makes it panic or stop.

mod distance;
mod event;
mod hash;
mod json;
mod line;
mod quick;
mod reject;
mod render;
mod stream;
mod tables;
mod time;
mod transform;

pub mod body;
pub mod limits;

pub use stream::Transformer;
pub use transform::Counts;

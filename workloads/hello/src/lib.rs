//! The smallest sensible `wasi:http/incoming-handler`: any request is answered with 200,
//! `text/plain` and `hello\n`. It is what the benchmark calls, so that the host is measured and not
//! the guest.
//!
//! Invariants: nothing is allocated while a request is answered, so the memory never grows (with
//! the feature `grow` it grows by exactly one page for each request, which is the only difference);
//! only `wasi:http/types` and the `wasi:io` interfaces it names are imported.
#![no_std]

#[cfg(target_arch = "wasm32")]
mod handler;

#[cfg(not(target_arch = "wasm32"))]
extern crate std;

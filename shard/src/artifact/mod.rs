//! From the bytes of an artifact to something that can be instantiated: inspect, compile, load.

mod compiled;
mod inspect;
mod loaded;

pub use compiled::{CompiledCache, Compiler, compile_file};
pub use inspect::{Inspected, inspect};
pub use loaded::Preparer;
pub(crate) use loaded::{Loaded, Loader};

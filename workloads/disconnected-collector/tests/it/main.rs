//! Every reading exactly once and in order, whatever happens: the collector runs against a bucket and a
//! sink that are models, and is killed at every call that it makes.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail where it stands")]

mod exactly_once;
mod full_store;
mod kills;
mod model;
mod real_data;

//! The shard's kernel with real guests, on both executors.

mod commands;
mod http_tasks;
mod limits;
mod stopping;
mod support;

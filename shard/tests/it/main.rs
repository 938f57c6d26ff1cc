//! The shard's kernel with real guests, on both executors.

mod allocations;
mod commands;
mod http_tasks;
mod instances;
mod limits;
mod outgoing;
mod states;
mod stopping;
mod support;

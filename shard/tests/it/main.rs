//! The shard's kernel with real guests, on both executors.

mod allocations;
mod commands;
mod http_tasks;
mod instances;
mod limits;
mod outgoing;
mod outgoing_tls;
mod states;
mod stopping;
mod support;

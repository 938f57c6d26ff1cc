//! The `vyr` program as its users meet it: commands, nodes, faults.

mod artifacts;
mod bench;
mod bounds;
mod chaos;
mod collector;
mod commands;
mod faults;
mod foreign;
mod guest_telemetry;
mod hops;
mod http;
mod main_job;
mod node;
mod outgoing;
mod page;
mod path;
mod sink;
mod states;
mod stock_wasmtime;
mod streams;
mod support;
mod telemetry;
mod terminal;

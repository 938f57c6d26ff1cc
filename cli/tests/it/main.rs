//! The `vyr` program as its users meet it: commands, nodes, faults.

mod artifacts;
mod bench;
mod bounds;
mod chaos;
mod commands;
mod faults;
mod foreign;
mod http;
mod main_job;
mod node;
mod path;
mod states;
mod stock_wasmtime;
mod support;
mod telemetry;

//! One component that tries a host's limits, as a command (`wasi:cli/run`, driven by its first
//! argument) and as an HTTP handler (driven by the path). What each word and path does is listed in
//! `../README.md`; they are names that tests rely on.
//!
//! Invariants: nothing happens before the word or path is known; every number from outside is
//! checked; misbehaviour lives in `limits` alone, and each kind is reached only by its own name.

mod command;
mod fetch;
mod http;
mod limits;
mod output;
mod streams;

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "probe", generate_all });
}

bindings::export!(Probe with_types_in bindings);

use bindings::exports::wasi::cli0_2_0::run::Guest as Run;
use bindings::exports::wasi::http::incoming_handler::{
    Guest as IncomingHandler, IncomingRequest, ResponseOutparam,
};

struct Probe;

impl Run for Probe {
    fn run() -> Result<(), ()> {
        limits::report_panics();
        command::run()
    }
}

impl IncomingHandler for Probe {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        limits::report_panics();
        http::handle(&request, response_out);
    }
}

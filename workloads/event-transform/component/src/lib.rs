//! Reference workload 1 as a component: a command that transforms standard input, and an HTTP
//! handler that transforms what is posted to it. What an event is and becomes is the library's
//! affair; here is only how bytes come and go.
//!
//! Invariants: standard output holds nothing but CloudEvents, and all of them; a stream is never
//! held whole, in either direction.

mod command;
mod http;
mod streams;

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "event-transform", generate_all });
}

bindings::export!(EventTransform with_types_in bindings);

use bindings::exports::wasi::cli0_2_0::run::Guest as Run;
use bindings::exports::wasi::http::incoming_handler::{
    Guest as IncomingHandler, IncomingRequest, ResponseOutparam,
};

struct EventTransform;

impl Run for EventTransform {
    fn run() -> Result<(), ()> {
        command::run()
    }
}

impl IncomingHandler for EventTransform {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        http::handle(&request, response_out);
    }
}

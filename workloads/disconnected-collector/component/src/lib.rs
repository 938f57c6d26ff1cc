//! Reference workload 2 as a component: a command that reads sensor readings on standard input, keeps
//! them in a key-value bucket and posts them upstream. What is kept and when is the library's affair;
//! here is how it meets the host.
//!
//! Invariants: it waits in one place only, for everything at once; standard output holds the summary
//! and nothing else; no reading is in memory that is in the bucket, but for the batch being sent.

mod bucket;
mod clock;
mod command;
mod request;
mod say;
mod task;

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "disconnected-collector", generate_all });
}

bindings::export!(DisconnectedCollector with_types_in bindings);

use bindings::exports::wasi::cli0_2_0::run::Guest as Run;

struct DisconnectedCollector;

impl Run for DisconnectedCollector {
    fn run() -> Result<(), ()> {
        command::run()
    }
}

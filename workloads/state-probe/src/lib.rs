//! One component that reads and writes states through `wasi:keyvalue`, as it is told: as a command by
//! its arguments, as an HTTP handler by the path. What each word does is in `operations.rs`.

mod operations;
mod streams;

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "state-probe", generate_all });
}

bindings::export!(StateProbe with_types_in bindings);

use bindings::exports::wasi::cli0_2_0::run::Guest as Run;
use bindings::exports::wasi::http::incoming_handler::{
    Guest as IncomingHandler, IncomingRequest, ResponseOutparam,
};
use bindings::wasi::cli0_2_0::environment::get_arguments;
use bindings::wasi::cli0_2_0::stdout::get_stdout;
use bindings::wasi::http::types::{Fields, OutgoingBody, OutgoingResponse};

struct StateProbe;

impl Run for StateProbe {
    /// Does one operation after the other, separated by `--`; each prints one line.
    fn run() -> Result<(), ()> {
        let arguments = get_arguments();
        let words = arguments.get(1..).unwrap_or_default();
        let stdout = get_stdout();
        for operation in words.split(|word| word == "--") {
            let words: Vec<&str> = operation.iter().map(String::as_str).collect();
            let line = operations::run(&words) + "\n";
            streams::write_all(&stdout, line.as_bytes()).map_err(drop)?;
        }
        Ok(())
    }
}

impl IncomingHandler for StateProbe {
    /// Does the operation that the path says, its words separated by slashes.
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let line = operations::run(&words) + "\n";
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(response_out, Ok(response));
        let Ok(stream) = body.write() else { return };
        let _ = streams::write_all(&stream, line.as_bytes());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

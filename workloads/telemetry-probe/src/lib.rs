//! One component that tells of itself through `wasi:logging` and `wasi:otel`, as a command by its arguments,
//! as an HTTP handler by the path. What each word does is in `words.rs`; tests rely on them.

mod spans;
mod words;

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "telemetry-probe", generate_all });
}

bindings::export!(TelemetryProbe with_types_in bindings);

use bindings::exports::wasi::cli0_2_0::run::Guest as Run;
use bindings::exports::wasi::http::incoming_handler::{
    Guest as IncomingHandler, IncomingRequest, ResponseOutparam,
};
use bindings::wasi::cli0_2_0::environment::get_arguments;
use bindings::wasi::cli0_2_0::stdout::get_stdout;
use bindings::wasi::http::types::{Fields, OutgoingBody, OutgoingResponse};
use bindings::wasi::io::streams::{OutputStream, StreamError};

struct TelemetryProbe;

/// Writes all of `bytes`, in parts that any host takes at once.
fn write_all(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(4096).try_for_each(|part| stream.blocking_write_and_flush(part))
}

impl Run for TelemetryProbe {
    fn run() -> Result<(), ()> {
        let arguments = get_arguments();
        let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        write_all(&get_stdout(), words::run(&words).as_bytes()).map_err(drop)
    }
}

impl IncomingHandler for TelemetryProbe {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let answer = words::run(&words);
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else {
            return;
        };
        ResponseOutparam::set(response_out, Ok(response));
        if let Ok(stream) = body.write() {
            // A client that has left does not read the answer.
            let _ = write_all(&stream, answer.as_bytes());
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

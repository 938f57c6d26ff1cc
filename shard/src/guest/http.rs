//! Outgoing HTTP of a guest.

use std::future::Future;

use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// Refuses every outgoing request: no host is permitted yet.
pub(super) struct Outgoing;

type Exchange = Result<(
    ::http::Response<WasiBody>,
    Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
)>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        _request: ::http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Exchange> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

//! Outgoing HTTP of guests (`wasi:http/outgoing-handler`): to the hosts that the artifact's manifest
//! names and the node permits, on the shard's executor, with bounds for time and size.
//!
//! Invariant: an exchange is one task of the executor that ends when the guest's task does, because
//! it waits for that inside its own future.

mod address;
mod body;
mod client;
mod connect;
mod permit;
mod pool;
mod tls;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use vyr_core::artifact::HostPattern;
use vyr_core::digest::Digest;
use vyr_core::trace::TraceContext;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

pub(crate) use client::Client;
use permit::Permit;

use super::Log;
use crate::rt;

/// What a guest sends its requests with.
pub(crate) struct Outgoing {
    client: SendWrapper<Rc<Client>>,
    artifact: Digest,
    /// The hosts that the artifact's manifest names.
    declared: Arc<[HostPattern]>,
    log: Log,
    trace: TraceContext,
}

type Exchanged = Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<()>> + Send>,
)>;

impl Outgoing {
    pub(super) fn new(
        client: Rc<Client>,
        artifact: Digest,
        declared: Arc<[HostPattern]>,
        log: Log,
        trace: TraceContext,
    ) -> Self {
        Self {
            client: SendWrapper::new(client),
            artifact,
            declared,
            log,
            trace,
        }
    }

    /// Connects the guest with its next task.
    pub(super) fn attach(&mut self, trace: TraceContext) {
        self.trace = trace;
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Exchanged> + Send> {
        let permit = match Permit::of(request.uri(), &self.declared, self.client.permitted()) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.log.line(&refusal.to_string());
                return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
            }
        };
        if let Ok(value) = HeaderValue::try_from(self.trace.to_string()) {
            request.headers_mut().entry("traceparent").or_insert(value);
        }
        let (mut sender, receiver) = oneshot::channel();
        let (client, artifact, log) = (
            Rc::clone(&self.client),
            self.artifact,
            self.log.of_this_task(),
        );
        rt::spawn(async move {
            // It is large, and this future is first held on the guest's stack, which is not.
            let exchange = Box::pin(client.exchange(artifact, permit, request, options));
            let response = futures_lite::future::or(
                async {
                    sender.closed().await;
                    None
                },
                async { Some(exchange.await) },
            )
            .await;
            if let Some(response) = response {
                let response = response.map_err(|failed| {
                    if let Some(line) = failed.line {
                        log.line(&line);
                    }
                    failed.error
                });
                // The guest's task may have ended just now.
                let _ = sender.send(response);
            }
        });
        Box::new(async move {
            let response = receiver.await.unwrap_or(Err(Error::ConnectionTerminated))?;
            let done: Box<dyn Future<Output = Result<()>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

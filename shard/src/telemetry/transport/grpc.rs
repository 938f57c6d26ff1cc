//! OTLP/gRPC. The messages are encoded already, so the codec only passes bytes on.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};
use tonic::{Code, Request, Status};

use super::{Attempt, Signal, root_cause, shorten};
use crate::telemetry::config::{Endpoint, ExporterError};

pub(super) struct GrpcClient {
    channel: Channel,
    metadata: MetadataMap,
    timeout: Duration,
}

impl GrpcClient {
    pub(super) fn new(
        endpoint: &Endpoint,
        headers: HeaderMap,
        timeout: Duration,
    ) -> Result<Self, ExporterError> {
        let channel = TonicEndpoint::from_shared(endpoint.origin())
            .map_err(|error| ExporterError::Client(error.into()))?
            .connect_timeout(timeout)
            .connect_lazy();
        Ok(Self {
            channel,
            metadata: MetadataMap::from_headers(headers),
            timeout,
        })
    }

    pub(super) async fn attempt(&self, signal: Signal, request: Bytes) -> Attempt {
        let path = PathAndQuery::from_static(match signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        let mut request = Request::new(request);
        *request.metadata_mut() = self.metadata.clone();
        let mut client = Grpc::new(self.channel.clone());
        let exchange = async {
            let ready = client.ready().await;
            ready.map_err(|error| Status::unavailable(root_cause(&error)))?;
            client.unary(request, path, Encoded).await
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => Attempt::Accepted(answer.into_inner()),
            Ok(Err(status)) => judge(&status),
            Err(_) => Attempt::Again {
                why: "the collector did not answer in time".into(),
                after: None,
            },
        }
    }
}

/// `RESOURCE_EXHAUSTED` means a full collector, which may have room later: the specification wants a
/// hint with it, which not every collector gives.
fn judge(status: &Status) -> Attempt {
    let why = format!(
        "the collector answered {:?}: {}",
        status.code(),
        shorten(status.message())
    );
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Attempt::Again { why, after: None },
        // A connection that broke off or does not speak gRPC.
        Code::Unknown | Code::Internal => Attempt::Again { why, after: None },
        _ => Attempt::Refused(why),
    }
}

/// Messages as the bytes they are encoded in.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

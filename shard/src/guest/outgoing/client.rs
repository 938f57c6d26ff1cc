//! One exchange: a connection, a request, a response, all within their times.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use vyr_core::artifact::PermittedHost;
use vyr_core::digest::Digest;
use vyr_core::limits::OutgoingLimits;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::Received;
use super::connect::connect;
use super::permit::Permit;
use super::pool::{Key, Pool};
use super::tls::Tls;
use crate::rt;

/// Headers that concern one connection only (RFC 9110, 7.6.1) and are not the guest's to set.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a shard sends its guests' requests with.
pub(crate) struct Client {
    permitted: Vec<PermittedHost>,
    limits: OutgoingLimits,
    pool: Pool,
    tls: Tls,
}

/// An exchange that failed: what the guest is told, and what its log says besides.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) line: Option<String>,
}

impl Failed {
    pub(super) fn logged(error: Error, line: String) -> Self {
        Self {
            error,
            line: Some(line),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, line: None }
    }
}

impl Client {
    /// A client for the hosts that the node permits.
    pub(crate) fn new(permitted: Vec<PermittedHost>, limits: OutgoingLimits) -> Rc<Self> {
        Rc::new(Self {
            permitted,
            limits,
            pool: Pool::new(
                limits.connections_max,
                limits.idle_connections_max,
                limits.idle_ms_max,
            ),
            tls: Tls::default(),
        })
    }

    pub(super) fn permitted(&self) -> &[PermittedHost] {
        &self.permitted
    }

    pub(super) fn limits(&self) -> &OutgoingLimits {
        &self.limits
    }

    /// Ends connections that have waited too long for their next request.
    pub(crate) fn end_old_connections(&self) {
        self.pool.end_old();
    }

    /// Sends one request and returns when the response's head is there.
    pub(super) async fn exchange(
        &self,
        artifact: Digest,
        permit: Permit,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, Failed> {
        let capped = |asked: Option<Duration>, max_ms| {
            let max = Duration::from_millis(max_ms);
            asked.map_or(max, |asked| asked.min(max))
        };
        let connect_max = capped(
            options.and_then(|options| options.connect_timeout),
            self.limits.connect_ms_max,
        );
        let first_byte_max = capped(
            options.and_then(|options| options.first_byte_timeout),
            self.limits.first_byte_ms_max,
        );
        let pause_max = capped(
            options.and_then(|options| options.between_bytes_timeout),
            self.limits.between_bytes_ms_max,
        );
        let deadline = Instant::now() + Duration::from_millis(self.limits.total_ms_max);
        prepare(&mut request)?;
        let request_bytes_max = self.limits.request_bytes_max;
        let mut request = request.map(|body| bounded(body, request_bytes_max));
        let key = Key {
            artifact,
            is_tls: permit.is_tls,
            host: permit.host.clone(),
            port: permit.port,
        };
        let sending = async {
            if let Some(mut kept) = self.pool.take(&key) {
                match kept.try_send_request(request).await {
                    Ok(response) => return Ok((kept, response)),
                    // The other side may close an idle connection just now. What was not sent is
                    // sent again on a new one.
                    Err(mut failed) => match failed.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(Failed::from(of_hyper(&failed.into_error()))),
                    },
                }
            }
            let mut sender = rt::timeout(connect_max, self.connect(&permit))
                .await
                .map_err(|_| Error::ConnectionTimeout)??;
            let sent = sender.send_request(request).await;
            let response = sent.map_err(|error| of_hyper(&error))?;
            Ok((sender, response))
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let (sender, response): (_, Response<Incoming>) =
            rt::timeout((connect_max + first_byte_max).min(left), sending)
                .await
                .map_err(|_| Error::HttpResponseTimeout)??;
        self.pool.keep(key, sender);
        let bytes_max = self.limits.response_bytes_max;
        Ok(response
            .map(|incoming| Received::new(incoming, pause_max, deadline, bytes_max).boxed_unsync()))
    }

    async fn connect(&self, permit: &Permit) -> Result<SendRequest<WasiBody>, Failed> {
        let open = self.pool.open().ok_or_else(|| {
            Failed::logged(
                Error::ConnectionLimitReached,
                format!(
                    "outgoing request: the shard has its {} connections (limits.outgoing.connections_max) in use",
                    self.limits.connections_max
                ),
            )
        })?;
        connect(permit, &self.tls, open).await
    }
}

/// What a guest is told when a connection fails.
pub(super) fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_parse() {
        Error::HttpProtocolError
    } else if error.is_body_write_aborted() || error.is_user() {
        Error::HttpRequestBodySize(None)
    } else {
        Error::ConnectionTerminated
    }
}

/// The body, broken off when it is larger than allowed.
fn bounded(body: WasiBody, bytes_max: u64) -> WasiBody {
    let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let too_large = move |_| Error::HttpRequestBodySize(Some(bytes_max));
    Limited::new(body, max).map_err(too_large).boxed_unsync()
}

/// Makes the request one for an origin server: its path as target, the host in a header.
fn prepare(request: &mut Request<WasiBody>) -> Result<(), Error> {
    for name in HOP_BY_HOP {
        request.headers_mut().remove(HeaderName::from_static(name));
    }
    let authority = request
        .uri()
        .authority()
        .ok_or(Error::HttpRequestUriInvalid)?;
    // Whatever stands before an '@' is not for the wire.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(HOST, host);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    *request.uri_mut() = target
        .parse::<Uri>()
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(())
}

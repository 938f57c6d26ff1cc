//! One exchange: a connection, a request, a response, all within their times.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use vyr_core::artifact::PermittedHost;
use vyr_core::digest::Digest;
use vyr_core::limits::OutgoingLimits;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::{Sending, share};
use super::connect::Connector;
use super::permit::Permit;
use super::pool::{Key, Pool};
use crate::rt;

/// Headers that concern one connection only (RFC 9110, 7.6.1) and are not the guest's to set.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
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
    connector: Connector,
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
            connector: Connector::default(),
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

    /// Sends one request and returns when the response's head is there. The body comes as long as its other side is held.
    pub(super) async fn exchange(
        &self,
        artifact: Digest,
        permit: Permit,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(Response<WasiBody>, Sending), Failed> {
        let times = Times::new(options.unwrap_or_default(), &self.limits);
        prepare(&mut request)?;
        let request_bytes_max = self.limits.request_bytes_max;
        let request = request.map(|body| bounded(body, request_bytes_max));
        let key = Key {
            artifact,
            is_tls: permit.is_tls,
            host: permit.host.clone(),
            port: permit.port,
        };
        let sending = self.send(&key, &permit, request, &times);
        let left = times.deadline.saturating_duration_since(Instant::now());
        let (sender, mut response) = rt::timeout(left, sending)
            .await
            .map_err(|_| Error::HttpResponseTimeout)??;
        // It closes with what arrived on it when it is no answer to a request like this.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::HttpProtocolError.into());
        }
        let bytes_max = self.limits.response_bytes_max;
        let announced = response.body().size_hint().lower();
        if announced > bytes_max {
            let line = format!(
                "outgoing request to {}:{}: the response has {announced} bytes, the bound is {bytes_max} \
                 (limits.outgoing.response_bytes_max)",
                permit.host, permit.port
            );
            let error = Error::HttpResponseBodySize(Some(announced));
            return Err(Failed::logged(error, line));
        }
        self.pool.keep(key, sender);
        remove_hop_by_hop(response.headers_mut());
        let (head, incoming) = response.into_parts();
        let (received, sending) = share(incoming, times.pause_max, times.deadline, bytes_max);
        let response = Response::from_parts(head, received.boxed_unsync());
        Ok((response, sending))
    }

    /// Sends the request on a connection that was kept, or else on a new one, up to the response's
    /// head.
    async fn send(
        &self,
        key: &Key,
        permit: &Permit,
        mut request: Request<WasiBody>,
        times: &Times,
    ) -> Result<(SendRequest<WasiBody>, Response<Incoming>), Failed> {
        if let Some(mut kept) = self.pool.take(key) {
            let sent = rt::timeout(times.first_byte_max, kept.try_send_request(request)).await;
            match sent.map_err(|_| Error::HttpResponseTimeout)? {
                Ok(response) => return Ok((kept, response)),
                // The other side may close an idle connection just now. What was not sent is sent
                // again on a new one.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(of_hyper(&failed.into_error()).into()),
                },
            }
        }
        let mut sender = self.connect(permit, times.connect_max).await?;
        let sent = rt::timeout(times.first_byte_max, sender.send_request(request)).await;
        let response = sent
            .map_err(|_| Error::HttpResponseTimeout)?
            .map_err(|error| of_hyper(&error))?;
        Ok((sender, response))
    }

    async fn connect(
        &self,
        permit: &Permit,
        time_max: Duration,
    ) -> Result<SendRequest<WasiBody>, Failed> {
        let open = self.pool.open().ok_or_else(|| {
            Failed::logged(
                Error::ConnectionLimitReached,
                format!(
                    "outgoing request: the shard has its {} connections (limits.outgoing.connections_max) in use",
                    self.limits.connections_max
                ),
            )
        })?;
        let deadline = Instant::now() + time_max;
        self.connector.connect(permit, deadline, open).await
    }
}

/// What one exchange may take: what the guest asks for, within the limits.
struct Times {
    connect_max: Duration,
    first_byte_max: Duration,
    pause_max: Duration,
    deadline: Instant,
}

impl Times {
    fn new(asked: RequestOptions, limits: &OutgoingLimits) -> Self {
        let capped = |asked: Option<Duration>, max_ms| {
            let max = Duration::from_millis(max_ms);
            asked.map_or(max, |asked| asked.min(max))
        };
        Self {
            connect_max: capped(asked.connect_timeout, limits.connect_ms_max),
            first_byte_max: capped(asked.first_byte_timeout, limits.first_byte_ms_max),
            pause_max: capped(asked.between_bytes_timeout, limits.between_bytes_ms_max),
            deadline: Instant::now() + Duration::from_millis(limits.total_ms_max),
        }
    }
}

/// What a guest is told when a connection fails.
pub(super) fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() {
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
    // A tunnel would reach hosts that nobody has permitted.
    if request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    remove_hop_by_hop(request.headers_mut());
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

/// Removes what concerns one connection only, also what its `connection` header names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(HeaderName::from_static(name));
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, combinators::UnsyncBoxBody};

    use super::*;

    fn request(method: &str, uri: &str) -> Request<WasiBody> {
        let body = UnsyncBoxBody::new(Empty::new().map_err(|never| match never {}));
        let request = Request::builder().method(method).uri(uri);
        request.body(body).expect("a well-formed request")
    }

    #[test]
    fn a_request_tells_its_host_once_and_its_path_only() {
        for (uri, host, target) in [
            ("http://a.example/p?q", "a.example", "/p?q"),
            ("http://a.example:81", "a.example:81", "/"),
            ("http://user:word@a.example/", "a.example", "/"),
            ("http://a.example//b.example/", "a.example", "//b.example/"),
        ] {
            let mut request = request("GET", uri);
            let headers = request.headers_mut();
            headers.append(HOST, HeaderValue::from_static("b.example"));
            headers.append(HOST, HeaderValue::from_static("c.example"));
            prepare(&mut request).expect(uri);
            let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
            assert_eq!(hosts, [host], "{uri}");
            assert_eq!(request.uri().to_string(), target, "{uri}");
        }
    }

    #[test]
    fn what_concerns_one_connection_is_removed() {
        let mut request = request("GET", "http://a.example/");
        for (name, value) in [
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-other", "1"),
        ] {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(name, value);
        }
        prepare(&mut request).expect("it can be sent");
        let mut left: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-other"]);
    }

    #[test]
    fn a_tunnel_is_refused() {
        let mut request = request("CONNECT", "http://a.example/");
        assert!(matches!(
            prepare(&mut request),
            Err(Error::HttpRequestMethodInvalid)
        ));
    }
}

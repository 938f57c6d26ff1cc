//! Outgoing HTTP of guests (`wasi:http/outgoing-handler`): to the hosts that the artifact's manifest
//! names and the node permits, on the shard's executor, with bounds for time and size.
//!
//! Invariant: an exchange is one task of the executor, up to the end of the response's body. It ends at its deadline and
//! when the guest's task does, because it waits for both inside its own future.

mod address;
mod body;
mod client;
mod connect;
mod permit;
mod pool;
mod tls;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::or;
use http::{HeaderMap, HeaderName, HeaderValue};
use send_wrapper::SendWrapper;
use tokio::sync::{oneshot, watch};
use vyr_core::artifact::HostPattern;
use vyr_core::digest::Digest;
use vyr_core::trace::{Exchange, Method, ShortText, SpanId, TraceContext};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, Result, WasiBody, WasiHttpHooks,
};

pub(crate) use client::Client;
use permit::Permit;

use super::Log;
use crate::clock;
use crate::rt;
use crate::steps::{Steps, Subject};

/// Carries a trace from one process to the next (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a guest neither sees nor sets: it concerns the connection.
static FORBIDDEN_HEADERS: [HeaderName; 9] = DEFAULT_FORBIDDEN_HEADERS;

/// What a guest sends its requests with.
pub(crate) struct Outgoing {
    client: SendWrapper<Rc<Client>>,
    artifact: Digest,
    /// The hosts that the artifact's manifest names.
    declared: Arc<[HostPattern]>,
    log: Log,
    steps: SendWrapper<Rc<Steps>>,
    subject: Subject,
    /// The span that encloses the next request.
    parent: SpanId,
    /// `None` before the task's first request, which most tasks never send.
    exchanges: SendWrapper<Option<Exchanges>>,
}

/// The exchanges of one task; dropped, it ends them.
struct Exchanges {
    /// Those that are under way.
    under_way: Rc<Cell<usize>>,
    ended: watch::Sender<()>,
}

/// Counts a request as long as it is under way.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One call, as the trace shows it.
struct Call {
    steps: Rc<Steps>,
    subject: Subject,
    trace: TraceContext,
    started_ns: u64,
    exchange: Exchange,
}

impl Call {
    fn new(
        steps: &Rc<Steps>,
        subject: Subject,
        parent: SpanId,
        request: &http::Request<WasiBody>,
        permit: &Permit,
    ) -> Self {
        Self {
            trace: steps.call(&subject, parent),
            steps: Rc::clone(steps),
            subject,
            started_ns: clock::monotonic_ns(),
            exchange: Exchange {
                method: Method::of(request.method().as_str()),
                status: 0,
                target: ShortText::new(&permit.host),
                port: permit.port,
                is_tls: permit.is_tls,
                failure: None,
            },
        }
    }

    /// The head of the response is there; or there is none; or nobody waits for it any more.
    fn ended(&self, answer: Option<&Result<Answer, client::Failed>>) {
        let mut exchange = self.exchange;
        match answer {
            Some(Ok((response, _))) => exchange.status = response.status().as_u16(),
            Some(Err(failed)) => exchange.failure = Some(failure_word(&failed.error)),
            None => exchange.failure = Some("abandoned"),
        }
        self.steps
            .called(&self.subject, &self.trace, self.started_ns, exchange);
    }
}

/// Whether the guest has chosen the request's trace, and not just handed on the task's.
fn has_trace_of_its_own(headers: &HeaderMap, task: &TraceContext) -> bool {
    let chosen = headers.get(TRACEPARENT);
    chosen.is_some_and(|value| value.as_bytes() != task.to_string().as_bytes())
}

/// Why a call failed, as `wasi:http` names it, in the word for `error.type`.
fn failure_word(error: &Error) -> &'static str {
    match error {
        Error::DnsTimeout => "dns_timeout",
        Error::DnsError { .. } => "dns_error",
        Error::DestinationNotFound => "destination_not_found",
        Error::DestinationUnavailable => "destination_unavailable",
        Error::DestinationIpProhibited => "destination_ip_prohibited",
        Error::ConnectionRefused => "connection_refused",
        Error::ConnectionTerminated => "connection_terminated",
        Error::ConnectionTimeout => "connection_timeout",
        Error::ConnectionReadTimeout => "connection_read_timeout",
        Error::ConnectionLimitReached => "connection_limit_reached",
        Error::TlsProtocolError => "tls_protocol_error",
        Error::TlsCertificateError => "tls_certificate_error",
        Error::HttpRequestBodySize(_) => "http_request_body_size",
        Error::HttpResponseBodySize(_) => "http_response_body_size",
        Error::HttpResponseTimeout => "http_response_timeout",
        Error::HttpProtocolError => "http_protocol_error",
        _ => "_OTHER",
    }
}

type Answer = (http::Response<WasiBody>, body::Sending);

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
        steps: Rc<Steps>,
        subject: Subject,
    ) -> Self {
        Self {
            client: SendWrapper::new(client),
            artifact,
            declared,
            log,
            steps: SendWrapper::new(steps),
            subject,
            parent: subject.trace.span_id,
            exchanges: SendWrapper::new(None),
        }
    }

    /// Requests from now on are made inside this span.
    pub(super) fn set_parent(&mut self, parent: SpanId) {
        self.parent = parent;
    }

    /// Connects the guest with its next task.
    pub(super) fn attach(&mut self, subject: Subject) {
        self.subject = subject;
    }

    /// The task is over, and so are its exchanges, whatever handles the guest keeps.
    pub(super) fn detach(&mut self) {
        *self.exchanges = None;
    }
}

impl WasiHttpHooks for Outgoing {
    /// As wasmtime has it, but the list is not made anew for each header.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Exchanged> + Send> {
        let requests_max = self.client.limits().requests_per_task_max;
        let exchanges = self.exchanges.get_or_insert_with(|| Exchanges {
            under_way: Rc::default(),
            ended: watch::Sender::new(()),
        });
        if exchanges.under_way.get() >= requests_max {
            self.log.line(&format!(
                "outgoing request refused: the task has {requests_max} under way (limits.outgoing.requests_per_task_max)"
            ));
            return Box::new(std::future::ready(Err(Error::ConnectionLimitReached)));
        }
        let permit = match Permit::of(request.uri(), &self.declared, self.client.permitted()) {
            Ok(permit) => permit,
            Err(refusal) => {
                self.log.line(&refusal.to_string());
                return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
            }
        };
        let call = Call::new(&self.steps, self.subject, self.parent, &request, &permit);
        if !has_trace_of_its_own(request.headers(), &self.subject.trace)
            && let Ok(value) = HeaderValue::try_from(call.trace.to_string())
        {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let under_way = UnderWay::new(&exchanges.under_way);
        let mut ended = exchanges.ended.subscribe();
        let (mut sender, receiver) = oneshot::channel();
        let (client, artifact, log) = (
            Rc::clone(&self.client),
            self.artifact,
            self.log.of_this_task(),
        );
        rt::spawn(async move {
            // It is large, and this future is first held on the guest's stack, which is not.
            let exchange = Box::pin(client.exchange(artifact, permit, request, options));
            let given_up = async {
                let task_ended = async { drop(ended.changed().await) };
                or(sender.closed(), task_ended).await;
                None
            };
            let answer = or(given_up, async { Some(exchange.await) }).await;
            call.ended(answer.as_ref());
            match answer {
                Some(Ok((response, mut sending))) => {
                    // The guest's task may have ended just now.
                    let _ = sender.send(Ok(response));
                    let task_ended = async { drop(ended.changed().await) };
                    or(sending.until_over(), task_ended).await;
                }
                Some(Err(failed)) => {
                    if let Some(line) = failed.line {
                        log.line(&line);
                    }
                    let _ = sender.send(Err(failed.error));
                }
                None => {}
            }
            drop(under_way);
        });
        Box::new(async move {
            let response = receiver.await.unwrap_or(Err(Error::ConnectionTerminated))?;
            let done: Box<dyn Future<Output = Result<()>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use vyr_core::id::{ShardNumber, TaskId};
    use vyr_core::limits::OutgoingLimits;
    use vyr_core::task::Kind;

    use super::*;
    use crate::guest::stdio::Kept;
    use crate::rt::{ExecutorConfig, ExecutorKind};
    use crate::telemetry::TelemetryConfig;

    #[test]
    fn a_trace_that_is_only_handed_on_is_not_the_guests_own() {
        let task = vyr_core::trace::TraceIdSource::with_seed(1).context(None);
        let has = |value: Option<String>| {
            let value = value.map(|value| (TRACEPARENT, value.parse().expect("a header")));
            has_trace_of_its_own(&value.into_iter().collect(), &task)
        };
        assert!(!has(None));
        assert!(!has(Some(task.to_string())));
        let own = TraceContext {
            span_id: SpanId::from_bits(1).expect("not 0"),
            ..task
        };
        assert!(has(Some(own.to_string())));
    }

    /// Answers every request with `answer`, and counts the connections that were closed on it.
    fn server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let closed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&closed);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                        stream.write_all(answer).expect("it is read");
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        (address.to_string(), closed)
    }

    fn with_outgoing(host: &str, limits: OutgoingLimits, test: impl AsyncFn(Outgoing)) {
        let config = ExecutorConfig {
            kind: ExecutorKind::Epoll,
            cpu: None,
            name: "test".into(),
        };
        let run = rt::run(&config, || async {
            let limits_of_shard = vyr_core::limits::ShardLimits::default();
            let steps = Steps::start(
                ShardNumber(0),
                &limits_of_shard,
                None,
                TelemetryConfig::default(),
                1,
            )
            .expect("no exporter");
            let subject = Subject {
                task: TaskId::from_bits(1),
                artifact: None,
                kind: Kind::Http,
                trace: steps.trace(None),
                cold: false,
            };
            test(Outgoing::new(
                Client::new(vec![host.parse().expect("a host")], limits),
                Digest::of(b"an artifact"),
                Arc::new([host.parse().expect("a host")]),
                Log::new(Kept::new(1 << 10)),
                Rc::new(steps),
                subject,
            ))
            .await;
        });
        run.expect("the executor runs");
    }

    fn send(
        outgoing: &mut Outgoing,
        host: &str,
    ) -> Pin<Box<dyn Future<Output = Exchanged> + Send>> {
        let body = http_body_util::Empty::new().map_err(|never| match never {});
        let request = http::Request::get(format!("http://{host}/"))
            .body(body.boxed_unsync())
            .expect("a request");
        let done = Box::new(std::future::ready(Ok(())));
        Box::into_pin(outgoing.send_request(request, None, done))
    }

    async fn body(sent: impl Future<Output = Exchanged>) -> WasiBody {
        let (response, _) = sent.await.expect("an answer");
        response.into_body()
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                rt::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = rt::timeout(Duration::from_secs(10), waiting).await;
        waited.unwrap_or_else(|_| panic!("{what}"));
    }

    const PART_OF_A_BODY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";

    #[test]
    fn a_task_has_so_many_requests_under_way() {
        let limits = OutgoingLimits {
            requests_per_task_max: 2,
            ..OutgoingLimits::default()
        };
        // One that never answers, one whose body does not end, and one whose body is not there.
        let answers = [
            (&b""[..], true),
            (PART_OF_A_BODY, true),
            (b"HTTP/1.1 204 No Content\r\n\r\n", false),
        ];
        for (answer, lasts) in answers {
            let (host, _) = server(answer);
            with_outgoing(&host, limits, async |mut outgoing| {
                for _ in 0..3 {
                    let mut bodies = Vec::new();
                    let mut under_way =
                        vec![send(&mut outgoing, &host), send(&mut outgoing, &host)];
                    if !answer.is_empty() {
                        for sent in under_way.drain(..) {
                            bodies.push(body(sent).await);
                        }
                        rt::sleep(Duration::from_millis(20)).await;
                    }
                    let third = send(&mut outgoing, &host);
                    if lasts {
                        let refused = third.await.err().expect("one too many");
                        assert!(matches!(refused, Error::ConnectionLimitReached));
                    } else {
                        drop(body(third).await);
                    }
                    // Whoever gives an exchange up ends it.
                    drop((under_way, bodies));
                    rt::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    }

    #[test]
    fn a_body_that_nobody_reads_ends_at_its_deadline() {
        let (host, closed) = server(PART_OF_A_BODY);
        let limits = OutgoingLimits {
            total_ms_max: 200,
            ..OutgoingLimits::default()
        };
        with_outgoing(&host, limits, async |mut outgoing| {
            let body = body(send(&mut outgoing, &host)).await;
            until("the connection is closed", || {
                closed.load(Ordering::SeqCst) == 1
            })
            .await;
            let error = body.collect().await.map(drop).expect_err("too late");
            assert!(matches!(error, Error::HttpResponseTimeout), "{error:?}");
        });
    }

    #[test]
    fn exchanges_of_a_task_end_with_it_though_its_instance_lives_on() {
        let (host, closed) = server(PART_OF_A_BODY);
        let limits = OutgoingLimits {
            requests_per_task_max: 1,
            ..OutgoingLimits::default()
        };
        with_outgoing(&host, limits, async |mut outgoing| {
            let kept = body(send(&mut outgoing, &host)).await;
            outgoing.detach();
            until("the connection is closed", || {
                closed.load(Ordering::SeqCst) == 1
            })
            .await;
            let error = kept.collect().await.map(drop).expect_err("it is over");
            assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
            // The next task's requests are its own.
            let waiting = send(&mut outgoing, &host);
            outgoing.detach();
            let error = waiting.await.err().expect("it is over");
            assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
        });
    }
}

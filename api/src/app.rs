//! One shard's HTTP application: authorise, route, answer or forward.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use vyr_core::id::{ShardNumber, StateId, TaskId};
use vyr_core::limits::HttpLimits;
use vyr_core::problem::Code;
use vyr_core::task::Kind;
use vyr_core::trace::{TraceContext, TraceParent};
use vyr_shard::rt::Decision;
use vyr_shard::state::StateError;
use vyr_shard::{BodyError, Shard, rt};

use crate::auth::Token;
use crate::body::{RequestBody, ResponseBody};
use crate::failure::{Failure, json};
use crate::forward::{HOP, Peers, Unreachable};
use crate::route::{Internal, Route};
use crate::{artifacts, invoke, node, page, states, streams, tasks};

/// What the HTTP side of a shard is made of.
pub struct AppConfig {
    /// The node's address, as told to clients.
    pub listen: SocketAddr,
    /// The shard's own address, for clients that choose their shard.
    pub own_address: SocketAddr,
    /// The Unix socket of every shard, in order.
    pub sockets: Vec<PathBuf>,
    /// The processor the shard is pinned to.
    pub cpu: Option<usize>,
    /// Which executor drives the shard, and why.
    pub executor: Decision,
    /// What requests over TCP must carry.
    pub token: Option<Token>,
    /// The bounds of the HTTP side.
    pub limits: HttpLimits,
}

/// The HTTP application of one shard.
pub struct App {
    pub(crate) shard: Rc<Shard>,
    pub(crate) peers: Peers,
    pub(crate) limits: HttpLimits,
    pub(crate) listen: SocketAddr,
    pub(crate) own_address: SocketAddr,
    pub(crate) cpu: Option<usize>,
    pub(crate) executor: Decision,
    pub(crate) started: Instant,
    pub(crate) uploads: tokio::sync::Semaphore,
    /// Streams of traces and metrics that may still be opened.
    pub(crate) watchers: Arc<tokio::sync::Semaphore>,
    token: Option<Token>,
}

/// Carries a trace from one process to the next (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The node's address: anyone who reaches it.
    Tcp,
    /// The shard's own socket, which only the node's user can open.
    Unix,
}

/// Artifacts that are taken in at the same time; each is held in memory meanwhile.
const UPLOADS_MAX: usize = 2;

impl App {
    /// The application of `shard`.
    #[must_use]
    pub fn new(shard: Rc<Shard>, config: AppConfig) -> Rc<Self> {
        let app = Rc::new(Self {
            peers: Peers::new(
                shard.number(),
                config.sockets,
                &config.limits,
                shard.forward_hops().clone(),
            ),
            shard,
            limits: config.limits,
            listen: config.listen,
            own_address: config.own_address,
            cpu: config.cpu,
            executor: config.executor,
            started: Instant::now(),
            uploads: tokio::sync::Semaphore::new(UPLOADS_MAX),
            watchers: Arc::new(tokio::sync::Semaphore::new(config.limits.watchers_max)),
            token: config.token,
        });
        let others = states::Others(Rc::downgrade(&app));
        app.shard.states().set_others(Rc::new(others));
        app
    }

    /// The shard behind it.
    #[must_use]
    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    pub(crate) fn body_time_max(&self) -> Duration {
        Duration::from_millis(self.limits.body_ms_max)
    }

    /// Answers one request, whatever it is.
    pub(crate) async fn serve(
        self: &Rc<Self>,
        origin: Origin,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let route = Route::of(request.method(), request.uri().path())?;
        self.authorise(origin, &route, &request)?;
        let hopped = origin == Origin::Unix && request.headers().contains_key(HOP);
        let pause_max = Duration::from_millis(self.limits.body_pause_ms_max);
        let request = request.map(|body| RequestBody::new(body, pause_max));
        if let Some(id) = route.task()
            && id.shard() != self.shard.number()
        {
            return self.forward_task(id, &route, hopped, request).await;
        }
        if let Some(id) = route.state()
            && id.shard() != self.shard.number()
        {
            return self.forward_state(id, hopped, request).await;
        }
        match route {
            Route::Run { artifact, path_at } => {
                invoke::run(self, &artifact, path_at, request, hopped).await
            }
            Route::PutArtifact => artifacts::put(self, request).await,
            Route::ListArtifacts => artifacts::list(self, &request).await,
            Route::Artifact(reference) => artifacts::show(self, reference).await,
            Route::DeleteArtifact(reference) => artifacts::delete(self, reference).await,
            Route::ArtifactLayout(reference) => artifacts::layout(self, reference).await,
            Route::SubmitTask => tasks::submit(self, request, hopped).await,
            Route::ListTasks => tasks::list(self, &request).await,
            Route::Task(id) => tasks::show(self, id, &request).await,
            Route::TaskOutput(id) => tasks::output(self, id),
            Route::TaskLogs(id) => tasks::logs(self, id),
            Route::CancelTask(id) => tasks::cancel(self, id).await,
            Route::CreateState => states::create(self, request, hopped).await,
            Route::ListStates => states::list(self, &request).await,
            Route::State(id) => states::show(self, id),
            Route::DeleteState(id) => states::delete(self, id),
            Route::StateKeys(id) => states::keys(self, id, &request),
            Route::GetKey(id, key) => states::get(self, id, key),
            Route::PutKey(id, key) => states::put(self, id, key, request).await,
            Route::DeleteKey(id, key) => states::delete_key(self, id, key, &request),
            Route::BindState(id) => states::bind(self, id, request, hopped).await,
            Route::Health => Ok(node::health()),
            Route::Ready => node::ready(self),
            Route::Metrics => Ok(node::metrics(self, request.headers()).await),
            Route::Node => Ok(node::node(self).await),
            Route::OpenApi => Ok(node::openapi()),
            Route::Page(file) => Ok(page::serve(file, request.headers())),
            Route::StreamTraces => streams::traces(self, &request),
            Route::StreamMetrics => streams::metrics(self, &request),
            Route::Internal(Internal::Tasks) => tasks::list_own(self, &request),
            Route::Internal(Internal::States) => states::list_own(self, &request),
            Route::Internal(Internal::StateRequest) => states::answer_other(self, request).await,
            Route::Internal(Internal::Metrics) => Ok(json(StatusCode::OK, &self.shard.metrics())),
            Route::Internal(Internal::Traces) => streams::own_spans(self, &request).await,
            Route::Internal(Internal::Shard) => Ok(json(StatusCode::OK, &node::describe(self))),
        }
    }

    fn authorise(
        &self,
        origin: Origin,
        route: &Route,
        request: &Request<Incoming>,
    ) -> Result<(), Failure> {
        if origin == Origin::Unix {
            return Ok(());
        }
        if let Some(token) = &self.token
            && !route.is_open()
            && !token.admits(request.headers())
        {
            let detail =
                "this node needs 'Authorization: Bearer TOKEN'; with the CLI give --token-file";
            return Err(Failure::new(Code::Unauthorized, detail));
        }
        if matches!(route, Route::Internal(_)) {
            return Err(Failure::new(
                Code::NotFound,
                "shards tell each other this over their own sockets",
            ));
        }
        Ok(())
    }

    /// Sends a request about another shard's task on. If that shard's process is gone, so is the
    /// task, which is an answer too.
    async fn forward_task(
        &self,
        id: TaskId,
        route: &Route,
        hopped: bool,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failure> {
        if hopped || !self.peers.has(id.shard()) {
            return Err(vyr_shard::Error::TaskNotFound { id }.into());
        }
        let error = match self.peers.forward(id.shard(), request).await {
            Ok(response) => return Ok(response.map(ResponseBody::Forwarded)),
            Err(error) => error,
        };
        tracing::warn!(%error, task = %id, "a task's shard is gone");
        match route {
            Route::Task(_) | Route::CancelTask(_) => Ok(json(StatusCode::OK, &vyr_shard::lost(id))),
            _ => {
                let lost = vyr_shard::lost(id).error;
                let detail = lost.map_or_else(|| error.to_string(), |error| error.message);
                Err(Failure::new(Code::ShardLost, detail))
            }
        }
    }
}

impl App {
    /// Sends a request that makes a task on to the shard that is to run it: a step of the task's trace.
    pub(crate) async fn forward_new<B>(
        &self,
        shard: ShardNumber,
        kind: Kind,
        mut request: Request<B>,
    ) -> Result<Response<Incoming>, Unreachable>
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        let hop = self.shard.hop(traceparent(&request), kind);
        hand_trace_on(request.headers_mut(), hop.trace());
        let response = self.peers.forward(shard, request).await?;
        if let Some(task) = task_of_hop(response.headers(), hop.trace()) {
            self.shard.forwarded(&hop, task);
        }
        Ok(response)
    }

    /// Sends a request about another shard's state on. Whether the state is lost is for its shard to say, once it is
    /// back.
    pub(crate) async fn forward_state(
        &self,
        id: StateId,
        hopped: bool,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failure> {
        if hopped || !self.peers.has(id.shard()) {
            return Err(StateError::NotFound { id }.into());
        }
        match self.peers.forward(id.shard(), request).await {
            Ok(response) => Ok(response.map(ResponseBody::Forwarded)),
            Err(error) => {
                tracing::warn!(%error, state = %id, "a state's shard does not answer");
                let reason = error.to_string();
                Err(StateError::Unreachable { id, reason }.into())
            }
        }
    }
}

/// The task that an answer names, if the hop is a step of its trace. It is not when an idempotency key has found
/// the task of an earlier submission.
fn task_of_hop(headers: &HeaderMap, hop: &TraceContext) -> Option<TaskId> {
    let text = |name| headers.get(name)?.to_str().ok();
    let trace: TraceParent = text(TRACEPARENT)?.parse().ok()?;
    let task = text(tasks::TASK_ID)?.parse().ok()?;
    (trace.trace_id == hop.trace_id).then_some(task)
}

/// Puts the trace that a request belongs to into its response (W3C Trace Context).
pub(crate) fn return_trace(response: &mut Response<ResponseBody>, trace: &TraceContext) {
    response.headers_mut().insert(TRACEPARENT, header_of(trace));
}

/// Puts the trace into a request that is handed on, and returns the header. What a client adds to a trace of its own
/// means nothing in a new one (W3C Trace Context, 3.3).
pub(crate) fn hand_trace_on(headers: &mut HeaderMap, trace: &TraceContext) -> HeaderValue {
    let value = header_of(trace);
    headers.insert(TRACEPARENT, value.clone());
    if trace.parent.is_none() {
        headers.remove(TRACESTATE);
    }
    value
}

fn header_of(trace: &TraceContext) -> HeaderValue {
    HeaderValue::from_bytes(&trace.to_parent().to_ascii()).expect("hexadecimal digits and dashes")
}

/// The client's trace, if it sent exactly one; several are as good as none (W3C Trace Context).
pub(crate) fn traceparent<B>(request: &Request<B>) -> Option<&str> {
    let mut values = request.headers().get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Runs blocking work of a request off the executor.
pub(crate) async fn blocking<T: Send + 'static, E: Into<Failure> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    rt::unblock(work).await.map_err(Into::into)
}

//! Tasks over HTTP: submit, look up, list, cancel.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use vyr_core::artifact::Reference;
use vyr_core::digest::Digest;
use vyr_core::id::{ShardNumber, StateId, TaskId};
use vyr_core::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use vyr_core::problem::Code;
use vyr_core::state::Binding;
use vyr_core::task::{self, Kind, Status};
use vyr_shard::state::StateError;
use vyr_shard::{Found, Pipe, PipeEnd, Submit, Task, rt};
use xxhash_rust::xxh3::xxh3_64;

use crate::app::{App, return_trace, traceparent};
use crate::body::{OutputStream, RequestBody, ResponseBody};
use crate::failure::{Failure, json, with_type};
use crate::forward::{Unreachable, own_body};
use crate::query::Query;
use crate::route::Internal;

/// Names the task of a response that is not about the task itself.
pub(crate) const TASK_ID: HeaderName = HeaderName::from_static("vyr-task-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const SUBMIT_PARAMETERS: &[&str] = &[
    "artifact", "arg", "env", "config", "bind", "timeout", "wait", "output",
];
const LIST_PARAMETERS: &[&str] = &["status", "artifact", "cursor", "limit"];
/// Rows of a page when the client names no number.
const PAGE_ROWS: usize = 100;

/// A task as JSON submits it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitDocument {
    artifact: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    input: Option<String>,
    input_base64: Option<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    bindings: Vec<Binding>,
}

/// One page of tasks.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    tasks: Vec<task::Task>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<TaskId>,
}

/// What a client wants back for a submitted task.
struct Wanted {
    wait: Option<Duration>,
    stream_output: bool,
}

/// `POST /v0/tasks`, in either form.
pub(crate) async fn submit(
    app: &Rc<App>,
    request: Request<RequestBody>,
    hopped: bool,
) -> Result<Response<ResponseBody>, Failure> {
    let key = idempotency_key(&request)?;
    let query = Query::parse(request.uri().query(), SUBMIT_PARAMETERS)?;
    let wanted = wanted(app, &query)?;
    let arrival = app.shard.arrival(traceparent(&request));
    if query.one("artifact")?.is_some() {
        let bindings = bindings_of(&query)?;
        if let Some(owner) = other_owner(app, &bindings, key.as_deref(), hopped) {
            return owner.answered(app.forward_new(owner.shard, Kind::Command, request).await);
        }
        let mut submit = submit_of_query(app, &query, &wanted)?;
        submit.bindings = bindings;
        submit.arrival = arrival;
        submit.idempotency = key.map(|key| (key, fingerprint(&submit)));
        let input = Arc::clone(&submit.input);
        let accepted = app.shard.submit(submit).await?;
        let body = accepted.created.then(|| request.into_body());
        return answer(app, accepted.task, wanted, body.map(|body| (body, input))).await;
    }
    let (head, body) = request.into_parts();
    let remedy = "give the task as application/json, or name it in the query (?artifact=REF) and send its input as the body";
    let body = json_body(app, &head.headers, body, remedy).await?;
    let document: SubmitDocument = serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the task document: {error}")))?;
    if let Some(owner) = other_owner(app, &document.bindings, key.as_deref(), hopped) {
        let request = Request::from_parts(head, own_body(body));
        return owner.answered(app.forward_new(owner.shard, Kind::Command, request).await);
    }
    let mut submit = submit_of_document(app, document, &wanted)?;
    submit.arrival = arrival;
    submit.idempotency = key.map(|key| (key, xxh3_64(&body)));
    let accepted = app.shard.submit(submit).await?;
    answer(app, accepted.task, wanted, None).await
}

/// Another shard that a submission belongs to.
struct Owner {
    shard: ShardNumber,
    /// The state it belongs there for, if it is not its idempotency key.
    state: Option<StateId>,
}

/// The first state decides where a task runs; without one, the idempotency key; without either, the
/// shard that was asked keeps it.
fn other_owner(app: &App, bindings: &[Binding], key: Option<&str>, hopped: bool) -> Option<Owner> {
    let state = bindings.first().map(|binding| binding.state);
    let by_key = || key.map(|key| owner_of(key, app.peers.count()));
    let shard = state.map(StateId::shard).or_else(by_key)?;
    let other = shard != app.shard.number() && !hopped && app.peers.has(shard);
    other.then_some(Owner { shard, state })
}

impl Owner {
    fn answered(
        &self,
        response: Result<Response<Incoming>, Unreachable>,
    ) -> Result<Response<ResponseBody>, Failure> {
        match (response, self.state) {
            (Ok(response), _) => Ok(response.map(ResponseBody::Forwarded)),
            (Err(error), Some(id)) => {
                let reason = error.to_string();
                Err(StateError::Unreachable { id, reason }.into())
            }
            (Err(error), None) => Err(Failure::new(
                Code::ShardLost,
                format!("{error}; submit again with the same idempotency key"),
            )),
        }
    }
}

fn bindings_of(query: &Query) -> Result<Vec<Binding>, Failure> {
    query
        .all("bind")
        .map(|text| {
            text.parse()
                .map_err(|error| Failure::invalid(format!("bind: {error}")))
        })
        .collect()
}

/// Answers a submission as wanted, feeding the input meanwhile.
async fn answer(
    app: &App,
    task: Rc<Task>,
    wanted: Wanted,
    input: Option<(RequestBody, Arc<Pipe>)>,
) -> Result<Response<ResponseBody>, Failure> {
    if wanted.stream_output {
        let Some(pipe) = task.output_stream() else {
            return Err(output_not_kept(
                "the first submission with this idempotency key did not stream",
            ));
        };
        if let Some((body, input)) = input {
            rt::spawn(body.feed(input));
        }
        let output = OutputStream {
            pipe,
            task: Rc::clone(&task),
        };
        let mut response = Response::new(ResponseBody::Output(output));
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        name_task(&mut response, &task);
        return Ok(response);
    }
    if let Some((body, input)) = input {
        body.feed(input).await;
    }
    if let Some(wait) = wanted.wait {
        // Whether it ended in time shows in the answer.
        let _ = rt::timeout(wait.min(wait_max(app)), task.ended()).await;
    }
    let ended = wanted.wait.is_some() && task.status().is_terminal();
    let status = if ended {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let mut response = json(status, &task.describe());
    name_task(&mut response, &task);
    Ok(response)
}

fn name_task(response: &mut Response<ResponseBody>, task: &Task) {
    let id = task.id();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        headers.insert(TASK_ID, value);
    }
    if let Ok(value) = HeaderValue::try_from(format!("/v0/tasks/{id}")) {
        headers.insert(LOCATION, value);
    }
    return_trace(response, task.trace());
}

fn wanted(app: &App, query: &Query) -> Result<Wanted, Failure> {
    let stream_output = match query.one("output")? {
        None => false,
        Some("stream") => true,
        Some(other) => {
            return Err(Failure::invalid(format!(
                "output is '{other}'; the only form is output=stream"
            )));
        }
    };
    let wait = query.duration("wait")?;
    if stream_output && wait.is_some() {
        return Err(Failure::invalid(
            "give wait or output=stream, not both: a stream lasts until the task ends",
        ));
    }
    check_wait(app, wait)?;
    Ok(Wanted {
        wait,
        stream_output,
    })
}

fn wait_max(app: &App) -> Duration {
    Duration::from_millis(app.limits.wait_ms_max)
}

fn check_wait(app: &App, wait: Option<Duration>) -> Result<(), Failure> {
    if wait.is_some_and(|wait| wait > wait_max(app)) {
        let bound = app.limits.wait_ms_max;
        return Err(Failure::invalid(format!(
            "wait is above the bound of {bound} ms; ask again instead"
        )));
    }
    Ok(())
}

fn submit_of_query(app: &App, query: &Query, wanted: &Wanted) -> Result<Submit, Failure> {
    let reference: Reference = query
        .parsed("artifact")?
        .ok_or_else(|| Failure::invalid("query parameter 'artifact' is missing"))?;
    let pairs = |parameter| {
        let pair = move |pair: &str| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::invalid(format!(
                "{parameter} is '{pair}'; give NAME=VALUE"
            ))),
        };
        query
            .all(parameter)
            .map(pair)
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Submit {
        artifact: app.shard.resolve(&reference)?,
        arguments: query.all("arg").map(str::to_owned).collect(),
        bindings: Vec::new(),
        environment: pairs("env")?,
        config: pairs("config")?,
        wall_ms_max: query.duration("timeout")?.map(millis),
        input: Pipe::new(app.shard.limits().stream_buffer_bytes_max),
        stream_output: wanted.stream_output,
        arrival: app.shard.arrival(None),
        idempotency: None,
    })
}

fn submit_of_document(
    app: &App,
    document: SubmitDocument,
    wanted: &Wanted,
) -> Result<Submit, Failure> {
    let reference: Reference = document
        .artifact
        .parse()
        .map_err(|error| Failure::invalid(format!("artifact: {error}")))?;
    let input = match (document.input, document.input_base64) {
        (Some(_), Some(_)) => return Err(Failure::invalid("give input or input_base64, not both")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| Failure::invalid(format!("input_base64: {error}")))?,
        (None, None) => Vec::new(),
    };
    Ok(Submit {
        artifact: app.shard.resolve(&reference)?,
        arguments: document.args,
        bindings: document.bindings,
        environment: document.env.into_iter().collect(),
        config: document.config.into_iter().collect(),
        wall_ms_max: document.timeout_ms,
        input: holding(input),
        stream_output: wanted.stream_output,
        arrival: app.shard.arrival(None),
        idempotency: None,
    })
}

fn holding(input: Vec<u8>) -> Arc<Pipe> {
    if input.is_empty() {
        let pipe = Pipe::new(0);
        pipe.end(PipeEnd::Complete);
        return pipe;
    }
    Pipe::holding(Bytes::from(input))
}

pub(crate) async fn json_body(
    app: &App,
    headers: &HeaderMap,
    body: RequestBody,
    remedy: &str,
) -> Result<Bytes, Failure> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    if essence != Some("application/json") {
        return Err(Failure::new(Code::MediaTypeUnsupported, remedy));
    }
    body.collect(app.limits.json_bytes_max, app.body_time_max())
        .await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn idempotency_key(request: &Request<RequestBody>) -> Result<Option<String>, Failure> {
    let Some(value) = request.headers().get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Failure::invalid(format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
        ))
    })
}

/// The shard that remembers a key: the same from every shard, so that a retry finds the first task.
fn owner_of(key: &str, shards: usize) -> ShardNumber {
    let shards = shards.max(1) as u64;
    ShardNumber(u16::try_from(xxh3_64(key.as_bytes()) % shards).unwrap_or(0))
}

/// What a streamed submission asks for, without its input, which is not there yet.
fn fingerprint(submit: &Submit) -> u64 {
    let text = format!(
        "{}\0{:?}\0{:?}\0{:?}\0{:?}\0{}",
        submit.artifact,
        submit.arguments,
        (&submit.environment, &submit.config),
        submit.bindings,
        submit.wall_ms_max,
        submit.stream_output
    );
    xxh3_64(text.as_bytes())
}

fn output_not_kept(why: &str) -> Failure {
    Failure::new(
        Code::OutputNotKept,
        format!("{why}; the task itself can still be looked up"),
    )
}

/// `GET /v0/tasks/{id}`.
pub(crate) async fn show(
    app: &App,
    id: TaskId,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["wait"])?;
    let wait = query.duration("wait")?;
    check_wait(app, wait)?;
    match app.shard.task(id)? {
        Found::Known(task) => {
            if let Some(wait) = wait {
                // Whether it ended in time shows in the answer.
                let _ = rt::timeout(wait, task.ended()).await;
            }
            Ok(json(StatusCode::OK, &task.describe()))
        }
        Found::Lost(task) => Ok(json(StatusCode::OK, &*task)),
    }
}

pub(crate) fn known(app: &App, id: TaskId) -> Result<Rc<Task>, Failure> {
    match app.shard.task(id)? {
        Found::Known(task) => Ok(task),
        Found::Lost(task) => {
            let message = task.error.map_or_else(String::new, |error| error.message);
            Err(Failure::new(Code::ShardLost, message))
        }
    }
}

/// `GET /v0/tasks/{id}/output`: what is kept so far.
pub(crate) fn output(app: &App, id: TaskId) -> Result<Response<ResponseBody>, Failure> {
    let task = known(app, id)?;
    let bytes = task
        .output()
        .ok_or_else(|| output_not_kept("the task's output went to its client as it came"))?;
    Ok(with_type(StatusCode::OK, "application/octet-stream", bytes))
}

/// `GET /v0/tasks/{id}/logs`: what is kept so far.
pub(crate) fn logs(app: &App, id: TaskId) -> Result<Response<ResponseBody>, Failure> {
    let task = known(app, id)?;
    Ok(with_type(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        task.logs(),
    ))
}

/// How long a cancelled task is waited for, so that the answer shows its terminal status.
const CANCEL_WAIT: Duration = Duration::from_millis(500);

/// `POST /v0/tasks/{id}/cancel`.
pub(crate) async fn cancel(app: &App, id: TaskId) -> Result<Response<ResponseBody>, Failure> {
    match app.shard.task(id)? {
        Found::Known(task) => {
            task.cancel();
            // Whether it ended in time shows in the answer.
            let _ = rt::timeout(CANCEL_WAIT, task.ended()).await;
            Ok(json(StatusCode::OK, &task.describe()))
        }
        Found::Lost(task) => Ok(json(StatusCode::OK, &*task)),
    }
}

/// `GET /v0/tasks`: of all shards, newest first.
pub(crate) async fn list(
    app: &App,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = request.uri().query().unwrap_or_default();
    let (mut page, rows_max) = own_page(app, query)?;
    for (shard, part) in app.peers.gather(Internal::Tasks, query).await {
        match serde_json::from_slice::<Page>(&part) {
            Ok(part) => page.tasks.extend(part.tasks),
            Err(error) => tracing::warn!(%shard, %error, "a shard's task list is not understood"),
        }
    }
    page.tasks
        .sort_unstable_by_key(|task| std::cmp::Reverse(task.id));
    let more = page.tasks.len() > rows_max;
    page.tasks.truncate(rows_max);
    page.next = page.tasks.last().map(|task| task.id).filter(|_| more);
    Ok(json(StatusCode::OK, &page))
}

/// This shard's part of the list: one row more than asked for, so that the asker sees whether
/// there is a next page.
pub(crate) fn list_own(
    app: &App,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let (page, _) = own_page(app, request.uri().query().unwrap_or_default())?;
    Ok(json(StatusCode::OK, &page))
}

fn own_page(app: &App, query: &str) -> Result<(Page, usize), Failure> {
    let query = Query::parse(Some(query), LIST_PARAMETERS)?;
    let status: Option<Status> = query.parsed("status")?;
    let artifact: Option<Digest> = match query.parsed::<Reference>("artifact")? {
        Some(reference) => Some(app.shard.resolve(&reference)?),
        None => None,
    };
    let before: Option<TaskId> = query.parsed("cursor")?;
    let rows_max = page_rows(&query, app.limits.page_rows_max)?;
    let tasks = app.shard.tasks(before, rows_max + 1, |task| {
        status.is_none_or(|status| task.status() == status)
            && artifact.is_none_or(|artifact| task.artifact() == artifact)
    });
    Ok((Page { tasks, next: None }, rows_max))
}

/// The rows a client asks for in one page.
pub(crate) fn page_rows(query: &Query, rows_max: usize) -> Result<usize, Failure> {
    let rows = query
        .parsed::<usize>("limit")?
        .unwrap_or(PAGE_ROWS.min(rows_max));
    if rows == 0 || rows > rows_max {
        return Err(Failure::invalid(format!(
            "limit is {rows}; give 1 to {rows_max}"
        )));
    }
    Ok(rows)
}

//! States over HTTP: create, look up, delete, read and write keys, bind to a task that waits.

use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use serde::{Deserialize, Serialize};
use vyr_core::id::{ShardNumber, StateId, TaskId};
use vyr_core::limits::{STATE_VALUE_BYTES_MAX, StateLimits};
use vyr_core::problem::Code;
use vyr_core::state::{Binding, Mode, State};
use vyr_shard::BodyError;
use vyr_shard::state::{Call, OtherRequest, OtherShards, Refused, Reply, StateError};

use crate::app::App;
use crate::body::{RequestBody, ResponseBody};
use crate::failure::{Failure, empty, json, with_type};
use crate::forward::{STATE_REQUEST_BYTES_MAX, own_body};
use crate::query::Query;
use crate::route::Internal;
use crate::tasks::{json_body, known, page_rows};

/// A state as JSON creates it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewState {
    /// The shard to create it on; the one that the request reached if absent.
    shard: Option<ShardNumber>,
    linger_ms: Option<u64>,
    keys_max: Option<u64>,
    bytes_max: Option<u64>,
}

/// A binding as JSON asks for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBinding {
    task: TaskId,
    name: String,
    #[serde(default)]
    mode: Mode,
}

/// One page of states.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    states: Vec<State>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    next: Option<StateId>,
}

/// One page of keys.
#[derive(Debug, Serialize)]
struct KeyPage {
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// `POST /v0/states`.
pub(crate) async fn create(
    app: &Rc<App>,
    request: Request<RequestBody>,
    hopped: bool,
) -> Result<Response<ResponseBody>, Failure> {
    let (head, body) = request.into_parts();
    let remedy = "give the state as application/json, {} for the defaults";
    let body = json_body(app, &head.headers, body, remedy).await?;
    let new: NewState = serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the state document: {error}")))?;
    if let Some(shard) = new.shard
        && shard != app.shard.number()
    {
        if hopped || !app.peers.has(shard) {
            return Err(Failure::invalid(format!("the node has no shard {shard}")));
        }
        return forward(app, shard, Request::from_parts(head, own_body(body))).await;
    }
    let cap = StateLimits::NODE_CAP;
    let limit = |name, asked: Option<u64>, default, max| match asked {
        Some(asked) if asked > max => Err(Failure::invalid(format!(
            "{name} is {asked}; this node grants at most {max}"
        ))),
        asked => Ok(asked.unwrap_or(default)),
    };
    let default = StateLimits::DEFAULT;
    let limits = StateLimits {
        linger_ms: limit("linger_ms", new.linger_ms, default.linger_ms, cap.linger_ms)?,
        keys_max: limit("keys_max", new.keys_max, default.keys_max, cap.keys_max)?,
        bytes_max: limit("bytes_max", new.bytes_max, default.bytes_max, cap.bytes_max)?,
    };
    let state = app.shard.states().create(limits)?;
    let mut response = json(StatusCode::CREATED, &state);
    if let Ok(value) = HeaderValue::try_from(format!("/v0/states/{}", state.id)) {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(response)
}

/// `GET /v0/states`: of all shards, newest first.
pub(crate) async fn list(
    app: &App,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = request.uri().query().unwrap_or_default();
    let (mut page, rows_max) = own_page(app, query)?;
    for (shard, part) in app.peers.gather(Internal::States, query).await {
        match serde_json::from_slice::<Page>(&part) {
            Ok(part) => page.states.extend(part.states),
            Err(error) => {
                tracing::warn!(%shard, %error, "a shard's list of states is not understood")
            }
        }
    }
    page.states
        .sort_unstable_by_key(|state| std::cmp::Reverse(state.id));
    let more = page.states.len() > rows_max;
    page.states.truncate(rows_max);
    page.next = page.states.last().map(|state| state.id).filter(|_| more);
    Ok(json(StatusCode::OK, &page))
}

/// This shard's part of the list, one row more than asked for.
pub(crate) fn list_own(
    app: &App,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let (page, _) = own_page(app, request.uri().query().unwrap_or_default())?;
    Ok(json(StatusCode::OK, &page))
}

fn own_page(app: &App, query: &str) -> Result<(Page, usize), Failure> {
    let query = Query::parse(Some(query), &["cursor", "limit"])?;
    let rows_max = page_rows(&query, app.limits.page_rows_max)?;
    let states = app
        .shard
        .states()
        .list(query.parsed("cursor")?, rows_max + 1);
    Ok((Page { states, next: None }, rows_max))
}

/// `GET /v0/states/{id}`.
pub(crate) fn show(app: &App, id: StateId) -> Result<Response<ResponseBody>, Failure> {
    Ok(json(StatusCode::OK, &app.shard.states().describe(id)?))
}

/// `DELETE /v0/states/{id}`.
pub(crate) fn delete(app: &App, id: StateId) -> Result<Response<ResponseBody>, Failure> {
    app.shard.states().delete(id)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v0/states/{id}/keys`.
pub(crate) fn keys(
    app: &App,
    id: StateId,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["cursor"])?;
    let cursor = query.parsed::<u32>("cursor")?.map(u64::from);
    let reply = call(app, id, Call::ListKeys { cursor })?;
    let Reply::Keys { keys, cursor } = reply else {
        return Err(mismatch());
    };
    Ok(json(StatusCode::OK, &KeyPage { keys, next: cursor }))
}

/// `GET /v0/states/{id}/keys/{key}`.
pub(crate) fn get(app: &App, id: StateId, key: String) -> Result<Response<ResponseBody>, Failure> {
    let Reply::Value(value) = call(app, id, Call::Get { key })? else {
        return Err(mismatch());
    };
    let Some((value, version)) = value else {
        let detail = "the state has no such key; GET /v0/states/{id}/keys lists its keys";
        return Err(Failure::new(Code::StateKeyNotFound, detail));
    };
    let mut response = with_type(StatusCode::OK, "application/octet-stream", value);
    set_version(&mut response, version);
    Ok(response)
}

/// `PUT /v0/states/{id}/keys/{key}`; with `If-Match` or `If-None-Match: *` only if nobody else wrote.
pub(crate) async fn put(
    app: &App,
    id: StateId,
    key: String,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let expected = expected_version(&request)?;
    // A state that is not there is told before its value is read.
    app.shard.states().describe(id)?;
    let value = request
        .into_body()
        .collect(STATE_VALUE_BYTES_MAX, app.body_time_max())
        .await?
        .to_vec();
    let call_put = match expected {
        None => Call::Set { key, value },
        Some(expected) => Call::Swap {
            key,
            expected,
            value,
        },
    };
    let Reply::Version(version) = call(app, id, call_put)? else {
        return Err(mismatch());
    };
    let mut response = empty(StatusCode::NO_CONTENT);
    set_version(&mut response, version);
    Ok(response)
}

/// `DELETE /v0/states/{id}/keys/{key}`; deleting what is not there does nothing. With `If-Match` only if nobody else
/// wrote.
pub(crate) fn delete_key(
    app: &App,
    id: StateId,
    key: String,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let expected = expected_version(request)?;
    call(app, id, Call::Delete { key, expected })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /v0/states/{id}/bindings`: answered by the task's shard.
pub(crate) async fn bind(
    app: &Rc<App>,
    id: StateId,
    request: Request<RequestBody>,
    hopped: bool,
) -> Result<Response<ResponseBody>, Failure> {
    let (head, body) = request.into_parts();
    let remedy = "give the binding as application/json";
    let body = json_body(app, &head.headers, body, remedy).await?;
    let new: NewBinding = serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the binding document: {error}")))?;
    let shard = new.task.shard();
    if shard != app.shard.number() && !hopped && app.peers.has(shard) {
        return forward(app, shard, Request::from_parts(head, own_body(body))).await;
    }
    let task = known(app, new.task)?;
    let binding = Binding {
        state: id,
        name: new.name,
        mode: new.mode,
    };
    app.shard.bind(&task, binding).await?;
    Ok(json(StatusCode::CREATED, &task.describe()))
}

/// What another shard asks on behalf of one of its tasks.
pub(crate) async fn answer_other(
    app: &App,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let body = request
        .into_body()
        .collect(STATE_REQUEST_BYTES_MAX, app.body_time_max())
        .await?;
    let request: OtherRequest = postcard::from_bytes(&body)
        .map_err(|error| Failure::invalid(format!("a shard's request: {error}")))?;
    let answer = app.shard.states().answer_other(request);
    let bytes = postcard::to_allocvec(&answer)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    Ok(with_type(StatusCode::OK, "application/octet-stream", bytes))
}

/// The way to the states of the other shards.
pub(crate) struct Others(pub(crate) Weak<App>);

impl OtherShards for Others {
    fn ask(&self, request: OtherRequest) -> Pin<Box<dyn Future<Output = Result<Reply, Refused>>>> {
        let app = self.0.clone();
        Box::pin(async move {
            let (shard, id) = (request.state.shard(), request.state);
            let unreachable = |reason: String| StateError::Unreachable { id, reason };
            let app = app
                .upgrade()
                .ok_or_else(|| unreachable("the node is stopping".into()))?;
            if !app.peers.has(shard) {
                return Err(StateError::NotFound { id }.into());
            }
            let may_repeat = request.what.may_repeat();
            let body = postcard::to_allocvec(&request).map_err(not_understood)?;
            let answer = app
                .peers
                .ask_state(shard, body.into(), may_repeat)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            postcard::from_bytes(&answer).map_err(not_understood)?
        })
    }
}

/// Shards of one program understand each other.
fn not_understood(error: postcard::Error) -> Refused {
    Refused {
        code: Code::Internal,
        detail: format!("what shards send each other is not understood: {error}"),
    }
}

fn call(app: &App, id: StateId, call: Call) -> Result<Reply, Failure> {
    let called = app.shard.states().call_by_id(id, call);
    called.map_err(|refused| Failure::new(refused.code, refused.detail))
}

fn mismatch() -> Failure {
    Failure::new(Code::Internal, "a state answered by another kind of reply")
}

/// The version that the key must have, 0 for one that must not exist.
fn expected_version<B>(request: &Request<B>) -> Result<Option<u64>, Failure> {
    let text = |name: HeaderName| request.headers().get(name).map(HeaderValue::to_str);
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some(Ok("*"))) => Ok(Some(0)),
        (Some(Ok(tag)), None) => {
            let version = tag
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .and_then(|tag| tag.parse().ok())
                .filter(|&version| version > 0);
            version.map(Some).ok_or_else(|| {
                Failure::invalid(format!(
                    "If-Match is '{tag}'; give the ETag that GET returned, such as \"7\""
                ))
            })
        }
        _ => Err(Failure::invalid(
            "give If-Match with one ETag, or If-None-Match: *, to write on a condition",
        )),
    }
}

fn set_version(response: &mut Response<ResponseBody>, version: u64) {
    if let Ok(value) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, value);
    }
}

async fn forward(
    app: &App,
    shard: ShardNumber,
    request: Request<impl Body<Data = Bytes, Error = BodyError> + Send + 'static>,
) -> Result<Response<ResponseBody>, Failure> {
    match app.peers.forward(shard, request).await {
        Ok(response) => Ok(response.map(ResponseBody::Forwarded)),
        Err(error) => Err(Failure::new(Code::ShardLost, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_versions() {
        let read = |pairs: &[(HeaderName, &str)]| {
            let mut request = Request::new(());
            for (name, value) in pairs {
                request
                    .headers_mut()
                    .append(name, HeaderValue::from_str(value).expect("plain"));
            }
            expected_version(&request)
        };
        assert_eq!(read(&[]).expect("none"), None);
        assert_eq!(read(&[(IF_MATCH, "\"7\"")]).expect("one"), Some(7));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]).expect("none yet"), Some(0));
        for pairs in [
            &[(IF_MATCH, "7")][..],
            &[(IF_MATCH, "*")],
            &[(IF_MATCH, "\"0\"")],
            &[(IF_NONE_MATCH, "\"7\"")],
            &[(IF_MATCH, "\"7\""), (IF_NONE_MATCH, "*")],
        ] {
            assert!(read(pairs).is_err(), "{pairs:?}");
        }
    }
}

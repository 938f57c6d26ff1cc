//! `/run/{ref}/{path…}`: one HTTP task per request.

use std::rc::Rc;

use http::header;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use vyr_core::artifact::Reference;
use vyr_core::id::StateId;
use vyr_core::state::Binding;
use vyr_core::task::Kind;
use vyr_shard::state::StateError;

use crate::app::{App, TRACEPARENT, hand_trace_on, traceparent};
use crate::body::{RequestBody, ResponseBody};
use crate::failure::Failure;
use crate::tasks::TASK_ID;

/// Binds the task to states.
const BIND: HeaderName = HeaderName::from_static("vyr-bind");

/// Headers that are not the guest's business: those that concern one connection only (RFC 9110, 7.6.1), and what
/// the node itself is told. A guest must not learn the node's token.
static HIDDEN: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
    BIND,
];

/// Runs the artifact on the shard where the connection landed, or where the first of its states is.
pub(crate) async fn run(
    app: &Rc<App>,
    artifact: &Reference,
    path_at: usize,
    mut request: Request<RequestBody>,
    hopped: bool,
) -> Result<Response<ResponseBody>, Failure> {
    let bindings = bindings(request.headers())?;
    if let Some(first) = bindings.first()
        && first.state.shard() != app.shard.number()
    {
        return forward(app, first.state, hopped, request).await;
    }
    let digest = app.shard.resolve(artifact)?;
    let arrival = app.shard.arrival(traceparent(&request));
    *request.uri_mut() = guest_uri(request.uri(), path_at)?;
    hide(request.headers_mut());
    // A guest that hands its request's headers on continues the task's trace, below the task.
    let trace = hand_trace_on(request.headers_mut(), arrival.trace());
    let (task, response) = app
        .shard
        .invoke_bound(&digest, request, arrival, &bindings)
        .await?;
    let Some(response) = response else {
        task.ended().await;
        return Err(Failure::of_task(&task));
    };
    let mut response = response.map(ResponseBody::Guest);
    if let Ok(value) = HeaderValue::from_bytes(&task.id().to_ascii()) {
        response.headers_mut().insert(TASK_ID, value);
    }
    response.headers_mut().insert(TRACEPARENT, trace);
    Ok(response)
}

/// Sends the request on to the shard of the state.
async fn forward(
    app: &App,
    state: StateId,
    hopped: bool,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    if hopped || !app.peers.has(state.shard()) {
        return Err(StateError::NotFound { id: state }.into());
    }
    let response = app.forward_new(state.shard(), Kind::Http, request).await;
    response
        .map(|response| response.map(ResponseBody::Forwarded))
        .map_err(|error| {
            tracing::warn!(%error, %state, "a state's shard is gone");
            StateError::Lost { id: state }.into()
        })
}

/// The states that the task is to be bound to: `vyr-bind: STATE=NAME[:ro]`, repeated or with commas.
fn bindings(headers: &HeaderMap) -> Result<Vec<Binding>, Failure> {
    let mut bindings = Vec::new();
    for value in headers.get_all(BIND) {
        let text = value
            .to_str()
            .map_err(|_| Failure::invalid("the header vyr-bind is not ASCII"))?;
        for text in text.split(',') {
            let binding = text.trim().parse();
            bindings.push(binding.map_err(|error| Failure::invalid(format!("vyr-bind: {error}")))?);
        }
    }
    Ok(bindings)
}

/// Removes what is not the guest's business. Requests have few headers, so it looks at those that are there
/// instead of asking for each that may be.
fn hide(headers: &mut HeaderMap) {
    let hidden: Vec<_> = headers
        .keys()
        .filter(|name| HIDDEN.contains(name))
        .cloned()
        .collect();
    for name in hidden {
        headers.remove(name);
    }
}

/// The request's URI as the guest sees it: its own path, from `/` on.
fn guest_uri(uri: &Uri, path_at: usize) -> Result<Uri, Failure> {
    let path = &uri.path()[path_at..];
    let text = match (path, uri.query()) {
        ("", None) => "/".to_owned(),
        ("", Some(query)) => format!("/?{query}"),
        (path, None) => path.to_owned(),
        (path, Some(query)) => format!("{path}?{query}"),
    };
    PathAndQuery::try_from(text)
        .map(Uri::from)
        .map_err(|error| Failure::invalid(format!("the path after the artifact: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_sees_its_own_headers() {
        let mut headers = HeaderMap::new();
        let name = |text| HeaderName::from_static(text);
        for text in HIDDEN.iter().cloned().chain([name("accept"), name("x-a")]) {
            headers.append(&text, HeaderValue::from_static("1"));
            headers.append(&text, HeaderValue::from_static("2"));
        }
        hide(&mut headers);
        assert_eq!((headers.keys().count(), headers.len()), (2, 4));
        assert!(headers.contains_key("accept") && headers.contains_key("x-a"));
    }

    #[test]
    fn the_guest_sees_its_own_path() {
        for (whole, guest) in [
            ("/run/hello", "/"),
            ("/run/hello/", "/"),
            ("/run/hello/a/b?c=d", "/a/b?c=d"),
            ("/run/hello?c=d", "/?c=d"),
        ] {
            let uri: Uri = whole.parse().expect("a URI");
            assert_eq!(
                guest_uri(&uri, "/run/hello".len())
                    .expect(whole)
                    .to_string(),
                guest
            );
        }
    }
}

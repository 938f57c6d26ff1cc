//! From method and path to what is asked for. A pure function.

use std::fmt::Display;
use std::str::FromStr;

use http::Method;
use percent_encoding::percent_decode_str;
use vyr_core::artifact::Reference;
use vyr_core::id::{StateId, TaskId};
use vyr_core::limits::STATE_KEY_BYTES_MAX;
use vyr_core::problem::Code;
use vyr_shard::state::StateError;

use crate::failure::Failure;
use crate::page;

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Route {
    /// One HTTP task; the path begins at the byte where the guest's path starts.
    Run {
        artifact: Reference,
        path_at: usize,
    },
    PutArtifact,
    ListArtifacts,
    Artifact(Reference),
    DeleteArtifact(Reference),
    ArtifactLayout(Reference),
    SubmitTask,
    ListTasks,
    Task(TaskId),
    TaskOutput(TaskId),
    TaskLogs(TaskId),
    CancelTask(TaskId),
    CreateState,
    ListStates,
    State(StateId),
    DeleteState(StateId),
    StateKeys(StateId),
    GetKey(StateId, String),
    PutKey(StateId, String),
    DeleteKey(StateId, String),
    BindState(StateId),
    Health,
    Ready,
    Metrics,
    Node,
    OpenApi,
    StreamTraces,
    StreamMetrics,
    /// The web page, or a file of it.
    Page(&'static page::File),
    /// What one shard tells another.
    Internal(Internal),
}

/// What shards ask each other, mostly their part of an answer that concerns all; served on a shard's own Unix socket only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Internal {
    Tasks,
    Metrics,
    Shard,
    States,
    /// Spans since the last time it was asked.
    Traces,
    /// What a task of one shard asks of a state of another.
    StateRequest,
}

impl Internal {
    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Tasks => "/internal/tasks",
            Self::Metrics => "/internal/metrics",
            Self::Shard => "/internal/shard",
            Self::States => "/internal/states",
            Self::Traces => "/internal/traces",
            Self::StateRequest => "/internal/state-request",
        }
    }
}

impl Route {
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, Failure> {
        if let Some(rest) = path.strip_prefix("/run/") {
            let end = rest.find('/').unwrap_or(rest.len());
            let artifact = reference(&rest[..end])?;
            return Ok(Self::Run {
                artifact,
                path_at: "/run/".len() + end,
            });
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            [""] => get(method, Self::Page(page::index())),
            ["page", name] => match page::file(name) {
                Some(file) => get(method, Self::Page(file)),
                None => Err(nothing_at(path)),
            },
            ["healthz"] => get(method, Self::Health),
            ["readyz"] => get(method, Self::Ready),
            ["metrics"] => get(method, Self::Metrics),
            ["v0", "node"] => get(method, Self::Node),
            ["v0", "openapi.json"] => get(method, Self::OpenApi),
            ["v0", "traces"] => get(method, Self::StreamTraces),
            ["v0", "metrics"] => get(method, Self::StreamMetrics),
            ["internal", "tasks"] => get(method, Self::Internal(Internal::Tasks)),
            ["internal", "metrics"] => get(method, Self::Internal(Internal::Metrics)),
            ["internal", "shard"] => get(method, Self::Internal(Internal::Shard)),
            ["internal", "traces"] => get(method, Self::Internal(Internal::Traces)),
            ["internal", "states"] => get(method, Self::Internal(Internal::States)),
            ["internal", "state-request"] => post(method, Self::Internal(Internal::StateRequest)),
            ["v0", "artifacts"] => match *method {
                Method::PUT => Ok(Self::PutArtifact),
                Method::GET | Method::HEAD => Ok(Self::ListArtifacts),
                _ => Err(Failure::method_not_allowed("GET, PUT")),
            },
            ["v0", "artifacts", text] => match *method {
                Method::GET | Method::HEAD => Ok(Self::Artifact(reference(text)?)),
                Method::DELETE => Ok(Self::DeleteArtifact(reference(text)?)),
                _ => Err(Failure::method_not_allowed("GET, DELETE")),
            },
            ["v0", "artifacts", text, "layout"] => {
                get(method, Self::ArtifactLayout(reference(text)?))
            }
            ["v0", "tasks"] => match *method {
                Method::POST => Ok(Self::SubmitTask),
                Method::GET | Method::HEAD => Ok(Self::ListTasks),
                _ => Err(Failure::method_not_allowed("GET, POST")),
            },
            ["v0", "tasks", id] => get(method, Self::Task(id_of(id)?)),
            ["v0", "tasks", id, "output"] => get(method, Self::TaskOutput(id_of(id)?)),
            ["v0", "tasks", id, "logs"] => get(method, Self::TaskLogs(id_of(id)?)),
            ["v0", "tasks", id, "cancel"] => post(method, Self::CancelTask(id_of(id)?)),
            ["v0", "states"] => match *method {
                Method::POST => Ok(Self::CreateState),
                Method::GET | Method::HEAD => Ok(Self::ListStates),
                _ => Err(Failure::method_not_allowed("GET, POST")),
            },
            ["v0", "states", id] => match *method {
                Method::GET | Method::HEAD => Ok(Self::State(id_of(id)?)),
                Method::DELETE => Ok(Self::DeleteState(id_of(id)?)),
                _ => Err(Failure::method_not_allowed("GET, DELETE")),
            },
            ["v0", "states", id, "bindings"] => post(method, Self::BindState(id_of(id)?)),
            ["v0", "states", id, "keys"] => get(method, Self::StateKeys(id_of(id)?)),
            ["v0", "states", id, "keys", key @ ..] => {
                let (id, key) = (id_of(id)?, key_of(key)?);
                match *method {
                    Method::GET | Method::HEAD => Ok(Self::GetKey(id, key)),
                    Method::PUT => Ok(Self::PutKey(id, key)),
                    Method::DELETE => Ok(Self::DeleteKey(id, key)),
                    _ => Err(Failure::method_not_allowed("GET, PUT, DELETE")),
                }
            }
            _ => Err(nothing_at(path)),
        }
    }

    /// The task it is about, whose shard must answer.
    pub(crate) fn task(&self) -> Option<TaskId> {
        match self {
            Self::Task(id) | Self::TaskOutput(id) | Self::TaskLogs(id) | Self::CancelTask(id) => {
                Some(*id)
            }
            _ => None,
        }
    }

    /// The state it is about, whose shard must answer.
    pub(crate) fn state(&self) -> Option<StateId> {
        match self {
            Self::State(id)
            | Self::DeleteState(id)
            | Self::StateKeys(id)
            | Self::GetKey(id, _)
            | Self::PutKey(id, _)
            | Self::DeleteKey(id, _) => Some(*id),
            _ => None,
        }
    }

    /// Whether it is answered without a token: probes that tell nothing, and the page, which holds no data.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Health | Self::Ready | Self::Page(_))
    }
}

fn nothing_at(path: &str) -> Failure {
    let detail = format!("nothing is at {path}; /v0/openapi.json lists what there is");
    Failure::new(Code::NotFound, detail)
}

fn get(method: &Method, route: Route) -> Result<Route, Failure> {
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(route)
    } else {
        Err(Failure::method_not_allowed("GET"))
    }
}

fn reference(segment: &str) -> Result<Reference, Failure> {
    let text = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Failure::invalid("the artifact reference is not UTF-8"))?;
    text.parse()
        .map_err(|error| Failure::invalid(format!("{error}")))
}

fn post(method: &Method, route: Route) -> Result<Route, Failure> {
    if *method == Method::POST {
        Ok(route)
    } else {
        Err(Failure::method_not_allowed("POST"))
    }
}

/// A key of a state: all that follows, so that a key may hold slashes.
fn key_of(segments: &[&str]) -> Result<String, Failure> {
    let text = segments.join("/");
    let key = percent_decode_str(&text)
        .decode_utf8()
        .map_err(|_| Failure::invalid("the key is not UTF-8 after decoding"))?;
    if key.len() > STATE_KEY_BYTES_MAX {
        let len_bytes = key.len();
        return Err(StateError::KeyTooLarge { len_bytes }.into());
    }
    Ok(key.into_owned())
}

fn id_of<I: FromStr<Err: Display>>(segment: &str) -> Result<I, Failure> {
    segment
        .parse()
        .map_err(|error| Failure::invalid(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        let route = |method: Method, path: &str| Route::of(&method, path).expect(path);
        assert_eq!(route(Method::GET, "/healthz"), Route::Health);
        assert_eq!(route(Method::POST, "/v0/tasks"), Route::SubmitTask);
        assert!(matches!(
            route(Method::POST, "/run/hello/a/b"),
            Route::Run { path_at: 10, .. }
        ));
        assert!(matches!(
            route(Method::GET, "/run/hello"),
            Route::Run { path_at: 10, .. }
        ));
        assert!(matches!(
            route(Method::GET, "/run/a%2Fb:1/x"),
            Route::Run { path_at: 12, .. }
        ));
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        for (method, path) in [
            (Method::POST, "/"),
            (Method::GET, "/page/index.html"),
            (Method::GET, "/page/../main.js"),
            (Method::GET, "/v0"),
            (Method::GET, "/v0/tasks/"),
            (Method::POST, "/v0/node"),
            (Method::GET, "/v0/tasks/x/cancel"),
            (Method::GET, "/v0/tasks/not-an-id"),
            (Method::GET, "/run//x"),
            (Method::PUT, "/v0/states"),
            (Method::GET, "/v0/states/not-an-id"),
            (Method::GET, "/v0/states/not-an-id/keys/k"),
            (Method::GET, "/internal/state-request"),
        ] {
            assert!(Route::of(&method, path).is_err(), "{method} {path}");
        }
    }
}

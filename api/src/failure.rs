//! Errors as responses: `application/problem+json` (RFC 9457) with a stable code.

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use vyr_core::problem::{Code, Problem};
use vyr_core::trace::TraceContext;
use vyr_shard::Task;

use crate::app::return_trace;
use crate::body::ResponseBody;
use crate::tasks::TASK_ID;

/// A request that fails, and how.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: Box<Problem>,
    allow: Option<&'static str>,
    /// The trace of the task that the failure is of.
    trace: Option<Box<TraceContext>>,
}

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(code, detail)),
            allow: None,
            trace: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::RequestInvalid, detail)
    }

    /// The failure of a synchronous task; the response names the task and its trace.
    pub(crate) fn of_task(task: &Task) -> Self {
        let mut failure = match task.error() {
            Some(error) => Self::new(error.code, error.message),
            None => Self::new(Code::Internal, "the task ended without response or error"),
        };
        failure.problem.task = Some(task.id());
        failure.trace = Some(Box::new(*task.trace()));
        failure
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes only {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(Code::MethodNotAllowed, detail)
        }
    }

    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &*self.problem);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.problem.code {
            Code::Overloaded | Code::StateUnreachable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Code::Unauthorized => {
                headers.insert(
                    http::header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer"),
                );
            }
            _ => {}
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(id) = self.problem.task
            && let Ok(value) = HeaderValue::try_from(id.to_string())
        {
            headers.insert(TASK_ID, value);
        }
        if let Some(trace) = self.trace {
            return_trace(&mut response, &trace);
        }
        response
    }
}

impl From<vyr_shard::Error> for Failure {
    fn from(error: vyr_shard::Error) -> Self {
        if error.code() == Code::Internal {
            tracing::error!(%error, "a request failed by a defect");
        }
        Self {
            problem: Box::new(error.problem()),
            allow: None,
            trace: None,
        }
    }
}

impl From<vyr_shard::state::StateError> for Failure {
    fn from(error: vyr_shard::state::StateError) -> Self {
        vyr_shard::Error::from(error).into()
    }
}

impl From<vyr_core::artifact::Error> for Failure {
    fn from(error: vyr_core::artifact::Error) -> Self {
        vyr_shard::Error::from(error).into()
    }
}

/// A JSON response.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<ResponseBody> {
    // The documents are plain structs with string keys, which always serialise.
    let bytes = serde_json::to_vec(document).expect("a plain document serialises");
    with_type(status, "application/json", bytes)
}

/// A response of known bytes.
pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<bytes::Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

//! Tasks: submit, look up, list, cancel.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use vyr_core::id::TaskId;
use vyr_core::state::Binding;
use vyr_core::task::Task;

use crate::connection::{Body, Client, Error};

/// A command task to be.
#[derive(Debug, Clone, Default)]
pub struct Submit {
    /// The artifact: a digest, a prefix of one, or `NAME[:TAG]`.
    pub artifact: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, NAME=VALUE.
    pub environment: Vec<String>,
    /// Settings that it reads through `wasi:config`, NAME=VALUE.
    pub config: Vec<String>,
    /// States that its guest opens; the first decides where it runs.
    pub bindings: Vec<Binding>,
    /// Its wall-time limit, such as `30s`.
    pub timeout: Option<String>,
    /// A key under which a retry finds the first task.
    pub idempotency_key: Option<String>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only of this status.
    pub status: Option<String>,
    /// Only of this artifact.
    pub artifact: Option<String>,
    /// From here on: the `next` of the page before.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// One page of tasks, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<TaskId>,
}

/// A task's output as it comes.
#[derive(Debug)]
pub struct OutputStream {
    /// The task.
    pub task: TaskId,
    body: Incoming,
}

impl OutputStream {
    /// The next part of the output; `None` at its end.
    ///
    /// # Errors
    /// When the stream breaks off: the task did not succeed, or its shard is gone. Look it up.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl Client {
    /// Submits a task with this input. Returns when the input was taken.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit(&self, submit: &Submit, input: Body) -> Result<Task, Error> {
        let response = self.send(self.submission(submit, None, input)?).await?;
        self.json(response).await
    }

    /// Submits a task and streams its output while its input is sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit_streaming(
        &self,
        submit: &Submit,
        input: Body,
    ) -> Result<OutputStream, Error> {
        let response = self
            .send(self.submission(submit, Some("stream"), input)?)
            .await?;
        let id = response
            .headers()
            .get("vyr-task-id")
            .and_then(|value| value.to_str().ok());
        let task = id
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| self.protocol("the answer does not name its task"))?;
        Ok(OutputStream {
            task,
            body: response.into_body(),
        })
    }

    /// A task; with `wait` (such as `30s`) once it has ended, or so much later.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task(&self, id: &str, wait: Option<&str>) -> Result<Task, Error> {
        let path = format!(
            "/v0/tasks/{}{}",
            encode(id),
            query([("wait", wait.map(str::to_owned))])
        );
        self.get(&path).await
    }

    /// One page of tasks.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<TaskPage, Error> {
        let parameters = [
            ("status", filter.status.clone()),
            ("artifact", filter.artifact.clone()),
            ("cursor", filter.cursor.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ];
        self.get(&format!("/v0/tasks{}", query(parameters))).await
    }

    /// What a task has written and is kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task_output(&self, id: &str) -> Result<Bytes, Error> {
        let response = self
            .call(Method::GET, &format!("/v0/tasks/{}/output", encode(id)))
            .await?;
        self.bytes(response).await
    }

    /// What a task has written to its log and is kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task_logs(&self, id: &str) -> Result<Bytes, Error> {
        let response = self
            .call(Method::GET, &format!("/v0/tasks/{}/logs", encode(id)))
            .await?;
        self.bytes(response).await
    }

    /// Cancels a task. One that has ended is unchanged.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel_task(&self, id: &str) -> Result<Task, Error> {
        let response = self
            .call(Method::POST, &format!("/v0/tasks/{}/cancel", encode(id)))
            .await?;
        self.json(response).await
    }

    fn submission(
        &self,
        submit: &Submit,
        output: Option<&str>,
        input: Body,
    ) -> Result<http::Request<Body>, Error> {
        let repeated = |name, values: &[String]| {
            values
                .iter()
                .map(move |value| (name, Some(value.clone())))
                .collect::<Vec<_>>()
        };
        let bindings: Vec<_> = submit.bindings.iter().map(Binding::to_string).collect();
        let parameters = [("artifact", Some(submit.artifact.clone()))]
            .into_iter()
            .chain(repeated("arg", &submit.arguments))
            .chain(repeated("env", &submit.environment))
            .chain(repeated("config", &submit.config))
            .chain(repeated("bind", &bindings))
            .chain([
                ("timeout", submit.timeout.clone()),
                ("output", output.map(str::to_owned)),
            ]);
        let path = format!("/v0/tasks{}", query(parameters));
        let mut request = self.request(Method::POST, &path, input)?;
        if let Some(key) = &submit.idempotency_key {
            let key = key.parse().map_err(|error| self.protocol(error))?;
            request.headers_mut().insert("idempotency-key", key);
        }
        Ok(request)
    }
}

pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query string of the parameters that have a value.
pub(crate) fn query(
    parameters: impl IntoIterator<Item = (&'static str, Option<String>)>,
) -> String {
    let pairs: Vec<_> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

//! States: create, look up, bind, read and write.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use vyr_core::id::{ShardNumber, StateId};
use vyr_core::state::{Mode, State};
use vyr_core::task::Task;

use crate::connection::{Client, Error, full};
use crate::tasks::{encode, query};

/// A state to be; what is absent is the node's default.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewState {
    /// The shard to create it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardNumber>,
    /// How long it stays after its last binding, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_ms: Option<u64>,
    /// The most keys it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_max: Option<u64>,
    /// The most bytes it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
}

/// One page of states, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatePage {
    /// The states.
    pub states: Vec<State>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<StateId>,
}

/// One page of a state's keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Client {
    /// Creates a state.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_state(&self, new: &NewState) -> Result<State, Error> {
        self.post_json("/v0/states", new).await
    }

    /// A state.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state(&self, id: &str) -> Result<State, Error> {
        self.get(&format!("/v0/states/{}", encode(id))).await
    }

    /// One page of states; `cursor` is the `next` of the page before.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn states(&self, cursor: Option<String>, limit: usize) -> Result<StatePage, Error> {
        let parameters = [("cursor", cursor), ("limit", Some(limit.to_string()))];
        self.get(&format!("/v0/states{}", query(parameters))).await
    }

    /// Deletes a state.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_state(&self, id: &str) -> Result<(), Error> {
        let path = format!("/v0/states/{}", encode(id));
        self.call(Method::DELETE, &path).await.map(drop)
    }

    /// Binds a state to a task that waits for its turn.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bind_state(
        &self,
        id: &str,
        task: &str,
        name: &str,
        mode: Mode,
    ) -> Result<Task, Error> {
        let binding = serde_json::json!({ "task": task, "name": name, "mode": mode });
        let path = format!("/v0/states/{}/bindings", encode(id));
        self.post_json(&path, &binding).await
    }

    /// The value of a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state_get(&self, id: &str, key: &str) -> Result<Bytes, Error> {
        let response = self.call(Method::GET, &key_path(id, key)).await?;
        self.bytes(response).await
    }

    /// Writes a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state_put(&self, id: &str, key: &str, value: Vec<u8>) -> Result<(), Error> {
        let request = self.request(Method::PUT, &key_path(id, key), full(value))?;
        self.send(request).await.map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state_delete(&self, id: &str, key: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &key_path(id, key))
            .await
            .map(drop)
    }

    /// One page of keys; `cursor` is the `next` of the page before.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn state_keys(&self, id: &str, cursor: Option<u64>) -> Result<KeyPage, Error> {
        let parameters = [("cursor", cursor.map(|cursor| cursor.to_string()))];
        let path = format!("/v0/states/{}/keys{}", encode(id), query(parameters));
        self.get(&path).await
    }

    async fn post_json<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        document: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(document).map_err(|error| self.protocol(error))?;
        let mut request = self.request(Method::POST, path, full(body))?;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        let response = self.send(request).await?;
        self.json(response).await
    }
}

fn key_path(id: &str, key: &str) -> String {
    format!("/v0/states/{}/keys/{}", encode(id), encode(key))
}

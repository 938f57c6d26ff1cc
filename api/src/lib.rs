//! The HTTP side of a shard: Control API v0 on the shard's own executor.
//!
//! hyper's types stop here. A request is routed, decoded, and either answered by this shard or
//! forwarded, once, to the shard that owns the task it is about.

mod app;
mod artifacts;
mod auth;
mod body;
mod failure;
mod forward;
mod invoke;
mod io;
mod node;
mod page;
mod plain;
mod query;
mod route;
mod server;
mod span_json;
mod states;
mod streams;
mod tasks;
mod upload;

pub use app::{App, AppConfig};
pub use auth::Token;
pub use plain::serve_plain;
pub use server::{Listeners, serve};

/// The OpenAPI 3.1 document that the server serves.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// Whether a request of this method and path would be answered by something else than 404 or 405.
#[must_use]
pub fn is_route(method: &http::Method, path: &str) -> bool {
    route::Route::of(method, path).is_ok()
}

//! The web page at `/`: static files inside the program. They hold no data of the node, so they are
//! served without a token; what the page shows it asks for itself, with the token that its user gives.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use vyr_core::digest::Digest;

use crate::body::ResponseBody;
use crate::failure::with_type;

/// Nothing from elsewhere, nothing inline: text of a guest that became markup could still do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, PartialEq)]
pub(crate) struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const fn script(name: &'static str, text: &'static str) -> File {
    let kind = "text/javascript; charset=utf-8";
    File { name, kind, text }
}

/// The first is the page itself.
static FILES: [File; 10] = [
    File {
        name: "index.html",
        kind: "text/html; charset=utf-8",
        text: include_str!("page/index.html"),
    },
    File {
        name: "page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("page/page.css"),
    },
    script("main.js", include_str!("page/main.js")),
    script("node.js", include_str!("page/node.js")),
    script("metrics.js", include_str!("page/metrics.js")),
    script("shards.js", include_str!("page/shards.js")),
    script("tasks.js", include_str!("page/tasks.js")),
    script("trace.js", include_str!("page/trace.js")),
    script("lists.js", include_str!("page/lists.js")),
    script("draw.js", include_str!("page/draw.js")),
];

/// The page itself.
pub(crate) fn index() -> &'static File {
    &FILES[0]
}

/// The file at `/page/NAME`.
pub(crate) fn file(name: &str) -> Option<&'static File> {
    FILES[1..].iter().find(|file| file.name == name)
}

/// A file, or that the browser has it already.
pub(crate) fn serve(file: &File, request: &HeaderMap) -> Response<ResponseBody> {
    let tag = format!("\"{}\"", Digest::of(file.text.as_bytes()));
    let known = request.get_all(IF_NONE_MATCH).iter().any(|tags| {
        let mut tags = tags.to_str().unwrap_or_default().split(',');
        tags.any(|known| known.trim().trim_start_matches("W/") == tag)
    });
    let (status, text) = if known {
        (StatusCode::NOT_MODIFIED, "")
    } else {
        (StatusCode::OK, file.text)
    };
    let mut response = with_type(status, file.kind, text);
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if known {
        headers.remove(CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

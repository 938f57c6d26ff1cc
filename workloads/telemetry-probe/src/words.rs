//! What each word does.

use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use crate::bindings::wasi::logging::logging::{Level, log};
use crate::bindings::wasi::otel::logs::{LogRecord, on_emit};
use crate::bindings::wasi::otel::metrics::{ResourceMetrics, export};
use crate::bindings::wasi::otel::tracing::{
    SpanContext, Status, TraceFlags, current_span_context, outer_span_context,
};
use crate::bindings::wasi::otel::types::Resource;
use crate::spans::{attribute, begin, scope};
use crate::write_all;

const USAGE: &str =
    "usage: tell | flood COUNT | large BYTES | foreign | call AUTHORITY | metrics\n";

/// Does what the first word says and returns what to print.
pub(crate) fn run(words: &[&str]) -> String {
    let number = || words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    match words.first().copied() {
        Some("tell") => tell(),
        Some("flood") => flood(number()),
        Some("large") => large(number()),
        Some("foreign") => foreign(),
        Some("call") => call(words.get(1).unwrap_or(&"")).unwrap_or_else(|error| error),
        Some("metrics") => metrics(),
        _ => USAGE.into(),
    }
}

fn write_error(text: &str) {
    // What cannot be written is not there for the test to find.
    let _ = write_all(&get_stderr(), text.as_bytes());
}

/// A log of each level, one with line breaks, a span inside a span with a log of its own, and two lines of
/// standard error. Prints the ids: of the trace, of what is outside, of both spans.
fn tell() -> String {
    for (level, name) in [
        (Level::Trace, "trace"),
        (Level::Debug, "debug"),
        (Level::Info, "info"),
        (Level::Warn, "warn"),
        (Level::Error, "error"),
        (Level::Critical, "critical"),
    ] {
        log(level, "probe", &format!("a message of level {name}"));
    }
    log(Level::Info, "", "two\nlines");
    let outside = outer_span_context();
    let outer = begin("outer", &outside);
    let inner = begin("inner", &current_span_context());
    on_emit(&LogRecord {
        timestamp: None,
        observed_timestamp: None,
        severity_text: Some("NOTICE".into()),
        severity_number: Some(10),
        body: Some("\"inside\"".into()),
        attributes: Some(vec![attribute("count", "3")]),
        event_name: Some("probe.inside".into()),
        resource: None,
        instrumentation_scope: Some(scope()),
        trace_id: Some(inner.context.trace_id.clone()),
        span_id: Some(inner.context.span_id.clone()),
        trace_flags: None,
    });
    let ids = [
        outside.trace_id.clone(),
        outside.span_id.clone(),
        outer.context.span_id.clone(),
        inner.context.span_id.clone(),
    ];
    let attributes = vec![
        attribute("text", "\"a\""),
        attribute("number", "42"),
        attribute("list", "[true,0.5]"),
    ];
    inner.end(attributes, Status::Error("it failed".into()));
    outer.end(Vec::new(), Status::Ok);
    write_error("first line\nsecond ");
    write_error("line\nand a line without an end");
    ids.join("\n") + "\n"
}

/// So many spans, logs and lines of standard error.
fn flood(count: u64) -> String {
    let outside = outer_span_context();
    for number in 0..count {
        begin("flood", &outside).end(Vec::new(), Status::Unset);
        log(Level::Info, "flood", &number.to_string());
        write_error("flood\n");
    }
    "done\n".into()
}

/// A span with a small and a large attribute and ten thousand more, and logs as large.
fn large(length_bytes: u64) -> String {
    let text = "x".repeat(usize::try_from(length_bytes).unwrap_or_default());
    let mut attributes = vec![attribute("small", "1"), attribute("large", &text)];
    attributes.extend((0..10_000).map(|number| attribute(&format!("a{number}"), "0")));
    begin(&format!("large {text}"), &outer_span_context()).end(Vec::new(), Status::Unset);
    begin("many", &outer_span_context()).end(attributes, Status::Unset);
    log(Level::Info, "large", &text);
    write_error(&text);
    write_error("\n");
    "done\n".into()
}

/// A span in a trace of the guest's own making, below nothing.
fn foreign() -> String {
    let nowhere = SpanContext {
        trace_id: "0123456789abcdef0123456789abcdef".into(),
        span_id: String::new(),
        trace_flags: TraceFlags::empty(),
        is_remote: false,
        trace_state: Vec::new(),
    };
    begin("foreign", &nowhere).end(Vec::new(), Status::Unset);
    "done\n".into()
}

/// Calls another host inside a span, and prints that span's id.
fn call(authority: &str) -> Result<String, String> {
    let span = begin("calling", &outer_span_context());
    let id = span.context.span_id.clone();
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "no scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "no authority")?;
    request.set_path_with_query(Some("/")).map_err(|()| "no path")?;
    let response = handle(request, None).map_err(|error| format!("{error:?}"))?;
    response.subscribe().block();
    let response = response.get().ok_or("no response")?.map_err(|()| "taken")?;
    response.map_err(|error| format!("{error:?}"))?;
    span.end(Vec::new(), Status::Ok);
    Ok(id + "\n")
}

/// Exports metrics and prints what the host says to it.
fn metrics() -> String {
    let nothing = ResourceMetrics {
        resource: Resource { attributes: Vec::new(), schema_url: None },
        scope_metrics: Vec::new(),
    };
    match export(&nothing) {
        Ok(()) => "taken\n".into(),
        Err(error) => format!("{error}\n"),
    }
}

//! How a task ended, from what its guest's future returned.

use std::fmt::Write as _;

use vyr_core::id::TaskId;
use vyr_core::limits::{ERROR_MESSAGE_BYTES_MAX, TaskLimits};
use vyr_core::problem::Code;
use vyr_core::task::{Status, TaskError};
use vyr_core::trace::TraceId;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::guest::{Control, Stop};

/// The end of a task.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) exit_code: Option<i32>,
    pub(crate) error: Option<TaskError>,
}

impl Outcome {
    fn new(status: Status, exit_code: Option<i32>, error: Option<TaskError>) -> Self {
        Self {
            status,
            exit_code,
            error,
        }
    }

    /// What was wrong, if anything was.
    pub(crate) fn code(&self) -> Option<Code> {
        self.error.as_ref().map(|error| error.code)
    }

    pub(crate) fn succeeded(exit_code: Option<i32>) -> Self {
        Self::new(Status::Succeeded, exit_code, None)
    }

    pub(crate) fn failed(code: Code, message: impl Into<String>) -> Self {
        Self::new(
            Status::Failed,
            None,
            Some(TaskError {
                code,
                message: message.into(),
            }),
        )
    }

    /// The guest's exit code, when it ran to its end.
    pub(crate) fn exited(exit_code: i32) -> Self {
        if exit_code == 0 {
            return Self::succeeded(Some(0));
        }
        let message = format!("the guest ended with exit code {exit_code}; its log may say why");
        Self {
            exit_code: Some(exit_code),
            ..Self::failed(Code::GuestExit, message)
        }
    }

    /// The guest was stopped from outside.
    pub(crate) fn stopped(stop: Stop, limits: &TaskLimits) -> Self {
        let (status, code, message) = match stop {
            Stop::Cancelled => (
                Status::Cancelled,
                Code::Cancelled,
                "the task was cancelled on request".to_owned(),
            ),
            Stop::ClientGone => (
                Status::Cancelled,
                Code::ClientGone,
                "the client closed its connection before the task had ended".to_owned(),
            ),
            Stop::Draining => (
                Status::Cancelled,
                Code::Cancelled,
                "the node was stopped before the task had ended".to_owned(),
            ),
            Stop::WallTime => (
                Status::TimedOut,
                Code::WallTimeExceeded,
                format!(
                    "the task ran longer than wall_ms_max = {}; raise it in the manifest or with --timeout",
                    limits.wall_ms_max
                ),
            ),
            Stop::CpuTime => (
                Status::TimedOut,
                Code::CpuTimeExceeded,
                format!(
                    "the guest computed longer than cpu_ms_max = {}; raise it in the manifest",
                    limits.cpu_ms_max
                ),
            ),
            Stop::OutputFull => (
                Status::Failed,
                Code::OutputExceeded,
                format!(
                    "the guest wrote more than output_bytes_max = {}; raise it in the manifest or stream the output",
                    limits.output_bytes_max
                ),
            ),
            Stop::InputIncomplete => (
                Status::Failed,
                Code::InputIncomplete,
                "the client broke off its input before its end; submit the task again".to_owned(),
            ),
        };
        Self::new(status, None, Some(TaskError { code, message }))
    }

    /// The guest's call returned an error: an exit, or a trap.
    pub(crate) fn from_error(
        error: &wasmtime::Error,
        control: &Control,
        limits: &TaskLimits,
    ) -> Self {
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::exited(exit.0);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            let message =
                "the shard's instance pool is full of large components; submit again in a second";
            return Self::failed(Code::Overloaded, message);
        }
        let mut message = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => format!("{:#}", WithoutBacktrace(error)),
        };
        let code = match control.memory_refused_bytes() {
            Some(asked_bytes) => {
                message = format!(
                    "the guest asked for {} bytes of memory, above memory_bytes_max = {}, and then ended: {message}; \
                     raise the limit in the manifest",
                    asked_bytes, limits.memory_bytes_max
                );
                Code::MemoryExceeded
            }
            None => Code::GuestTrap,
        };
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            append_frames(&mut message, backtrace);
        }
        truncate(&mut message);
        Self::failed(code, message)
    }

    pub(crate) fn panicked(message: &str, task: TaskId, trace_id: TraceId) -> Self {
        tracing::error!(%task, %trace_id, message, "a task's host side panicked");
        Self::failed(
            Code::Internal,
            "a defect of VYR ended the task; the node's log has the details",
        )
    }
}

/// The chain of an error's causes without the backtrace that wasmtime puts on top.
struct WithoutBacktrace<'a>(&'a wasmtime::Error);

impl std::fmt::Display for WithoutBacktrace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for cause in self.0.chain() {
            // The outermost text is the backtrace, which is written frame by frame instead.
            if cause.to_string().starts_with("error while executing") {
                continue;
            }
            if !first {
                f.write_str(": ")?;
            }
            first = false;
            write!(f, "{cause}")?;
        }
        Ok(())
    }
}

fn append_frames(message: &mut String, backtrace: &WasmBacktrace) {
    for (number, frame) in backtrace.frames().iter().enumerate() {
        let function = match frame.func_name() {
            Some(name) => rustc_demangle::try_demangle(name)
                .map_or_else(|_| name.to_owned(), |demangled| format!("{demangled:#}")),
            None => format!("function {}", frame.func_index()),
        };
        let module = frame.module().name().unwrap_or("module");
        // Writing to a string does not fail.
        let _ = write!(message, "\n  {number}: {module}!{function}");
        if let Some(offset) = frame.module_offset() {
            let _ = write!(message, " at offset {offset:#x}");
        }
    }
}

fn truncate(message: &mut String) {
    if message.len() > ERROR_MESSAGE_BYTES_MAX {
        let mut end = ERROR_MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
}

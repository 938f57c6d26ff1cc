//! `wasi:logging`, with its version and, as some guests import it, without.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::bindings::wasi::logging::logging::Level;
use super::room::{Room, pair, text_value};
use super::{Telemetry, text};
use crate::clock;
use crate::guest::Guest;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for name in ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"] {
        linker.instance(name)?.func_wrap(
            "log",
            |mut store: StoreContextMut<'_, Guest>,
             (level, context, message): (Level, String, String)| {
                store.data_mut().telemetry.log(level, context, message);
                Ok(())
            },
        )?;
    }
    Ok(())
}

impl Telemetry {
    fn log(&mut self, level: Level, context: String, message: String) {
        let (name, severity) = named(level);
        let line = text::line(name, &context, &message);
        let span = self.current();
        self.log.told(Some(&line), |export| {
            export.log("wasi:logging", span, || {
                let mut room = Room::new();
                let now_ns = clock::unix_ns();
                let mut record = LogRecord {
                    time_unix_nano: now_ns,
                    observed_time_unix_nano: now_ns,
                    severity_number: severity.into(),
                    severity_text: name.into(),
                    body: Some(text_value(room.text(message))),
                    ..LogRecord::default()
                };
                if !context.is_empty() {
                    let context = text_value(room.text(context));
                    record
                        .attributes
                        .push(pair("vyr.log.context".into(), context));
                }
                (InstrumentationScope::default(), record)
            });
        });
    }
}

fn named(level: Level) -> (&'static str, SeverityNumber) {
    match level {
        Level::Trace => ("TRACE", SeverityNumber::Trace),
        Level::Debug => ("DEBUG", SeverityNumber::Debug),
        Level::Info => ("INFO", SeverityNumber::Info),
        Level::Warn => ("WARN", SeverityNumber::Warn),
        Level::Error => ("ERROR", SeverityNumber::Error),
        Level::Critical => ("CRITICAL", SeverityNumber::Fatal),
    }
}

//! What the telemetry of this process is from.

use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue as Pair, any_value,
};
pub(super) use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;

use super::config::ExporterConfig;

/// `service.name` (`vyr`), `service.version`, `host.name`, `process.pid`, `vyr.shard`, and what the
/// variables `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say.
pub(super) fn resource(config: &ExporterConfig) -> Resource {
    let service = std::env::var("OTEL_SERVICE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let own = opentelemetry_sdk::Resource::builder_empty()
        .with_attribute(KeyValue::new(
            "service.name",
            service.unwrap_or_else(|| "vyr".into()),
        ))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("host.name", host))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .with_attribute(KeyValue::new("vyr.shard", i64::from(config.shard.0)));
    let given = config
        .resource
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = own
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_attributes(given)
        .build();
    Resource {
        attributes: resource
            .iter()
            .map(|(key, value)| pair(key.as_str(), value))
            .collect(),
        ..Resource::default()
    }
}

/// What makes the telemetry: this program.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "vyr".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

fn pair(key: &str, value: &Value) -> Pair {
    let value = match value {
        Value::I64(number) => any_value::Value::IntValue(*number),
        other => any_value::Value::StringValue(other.to_string()),
    };
    Pair {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..Pair::default()
    }
}

//! What the telemetry of this process is from.

use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue as Pair, any_value,
};
pub(super) use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};

use super::config::ExporterConfig;

/// `service.name` (`vyr`), `service.version`, `service.instance.id`, `host.name`, `process.pid`, `vyr.shard`, and what
/// the variables `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say.
pub(super) fn resource(config: &ExporterConfig) -> Resource {
    let service = std::env::var("OTEL_SERVICE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    assembled(config, service, Box::new(EnvResourceDetector::new()))
}

/// What the specification wants to win comes last: the service's own variable after the one for all attributes.
fn assembled(
    config: &ExporterConfig,
    service: Option<String>,
    environment: Box<dyn ResourceDetector>,
) -> Resource {
    let (shard, pid) = (config.shard, std::process::id());
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let own = opentelemetry_sdk::Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "vyr"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            format!("{host}/{shard}/{pid}"),
        ))
        .with_attribute(KeyValue::new("host.name", host))
        .with_attribute(KeyValue::new("process.pid", i64::from(pid)))
        .with_attribute(KeyValue::new("vyr.shard", i64::from(shard.0)));
    let given = config
        .resource
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = own
        .with_detector(environment)
        .with_attributes(service.map(|name| KeyValue::new("service.name", name)))
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

#[cfg(test)]
mod tests {
    use vyr_core::id::ShardNumber;

    use super::*;

    struct Environment;

    impl ResourceDetector for Environment {
        fn detect(&self) -> opentelemetry_sdk::Resource {
            let pairs = [("service.name", "of all"), ("team", "shop")];
            let pairs = pairs.map(|(name, value)| KeyValue::new(name, value));
            opentelemetry_sdk::Resource::builder_empty()
                .with_attributes(pairs)
                .build()
        }
    }

    fn attribute(resource: &Resource, name: &str) -> String {
        let mut pairs = resource.attributes.iter();
        let pair = pairs.find(|pair| pair.key == name).expect(name);
        match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn the_services_own_variable_wins_and_an_instance_is_told_from_the_others() {
        let config = ExporterConfig::new("http://127.0.0.1:1", ShardNumber(3));
        let of = |service: Option<&str>| {
            assembled(&config, service.map(str::to_owned), Box::new(Environment))
        };
        assert_eq!(attribute(&of(None), "service.name"), "of all");
        let named = of(Some("checkout"));
        assert_eq!(attribute(&named, "service.name"), "checkout");
        assert_eq!(attribute(&named, "team"), "shop");
        let (host, pid) = (attribute(&named, "host.name"), std::process::id());
        let instance = attribute(&named, "service.instance.id");
        assert_eq!(instance, format!("{host}/3/{pid}"));
    }
}

//! VYR's manifest: what an artifact's author declares. Authored as TOML, stored as canonical JSON;
//! unknown fields are refused, and every field may be left out.

use serde::{Deserialize, Serialize};

use super::Error;
use super::name::Name;
use crate::limits::{MANIFEST_BYTES_MAX, TaskLimits};

/// Longest free text of a manifest, bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Entries of one list of a manifest.
const ENTRIES_MAX: usize = 256;

/// What an artifact's author declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// The artifact's name, and a command's first argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The author's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the artifact is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Limits of its tasks, where they differ from the node's defaults.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: ManifestLimits,
    /// What its tasks may use.
    #[serde(skip_serializing_if = "is_default")]
    pub capabilities: Capabilities,
    /// The states its tasks use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateDeclaration>,
    /// How its instances are made.
    #[serde(skip_serializing_if = "is_default")]
    pub instances: Instances,
}

/// What tasks may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Hosts that outgoing requests may go to: `host`, `host:port`, or `*.domain`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outgoing_hosts: Vec<String>,
    /// Environment variables a submitter may set; when empty, any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
}

/// A state that tasks use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateDeclaration {
    /// The bucket's name inside the guest.
    pub name: String,
    /// How it is used.
    #[serde(default)]
    pub mode: StateMode,
}

/// How a state is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// Read and written.
    #[default]
    Rw,
    /// Only read.
    Ro,
}

/// How instances are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instances {
    /// A fresh instance for each task, or one after another in the same.
    pub policy: InstancePolicy,
    /// Tasks after which an instance is not used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    /// Idle time after which an instance is dropped, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms_max: Option<u64>,
}

/// Whether tasks share instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancePolicy {
    /// Each task has an instance of its own.
    #[default]
    Fresh,
    /// One task after another may use an instance.
    Reuse,
}

macro_rules! manifest_limits {
    ($($name:ident),*) => {
        /// The limits a manifest sets; the names are those of [`TaskLimits`].
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ManifestLimits {
            $(
                #[doc = concat!("See [`TaskLimits::", stringify!($name), "`].")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )*
        }

        impl ManifestLimits {
            /// These limits where they are set, `base`'s elsewhere.
            #[must_use]
            pub fn over(&self, base: &TaskLimits) -> TaskLimits {
                TaskLimits { $($name: self.$name.unwrap_or(base.$name),)* }
            }

            fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

manifest_limits!(
    wall_ms_max,
    cpu_ms_max,
    memory_bytes_max,
    table_elements_max,
    instances_max,
    output_bytes_max,
    log_bytes_max,
    state_bytes_max
);

/// Limits that may be zero: a task without kept output, log or state makes sense.
const MAY_BE_ZERO: &[&str] = &["output_bytes_max", "log_bytes_max", "state_bytes_max"];

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Manifest {
    /// Reads what an author wrote.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`] with the line and field at fault.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        check_size(text.len())?;
        let manifest: Self = toml::from_str(text)
            .map_err(|error| Error::ManifestInvalid(error.to_string().trim().to_owned()))?;
        manifest.check()
    }

    /// Reads the stored form, or JSON that an author wrote.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`] with the place and field at fault.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes.len())?;
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        manifest.check()
    }

    /// The stored form: JSON with sorted keys, no white space, and nothing that is as by default,
    /// so that the same declaration has the same digest.
    ///
    /// # Panics
    /// Never: the document is plain.
    #[must_use]
    pub fn to_canonical_json(&self) -> Vec<u8> {
        // serde_json's own map type keeps its keys sorted.
        let value = serde_json::to_value(self).expect("a manifest is a plain document");
        serde_json::to_vec(&value).expect("a manifest is a plain document")
    }

    fn check(self) -> Result<Self, Error> {
        if let Some(name) = &self.name {
            name.parse::<Name>()
                .map_err(|error| invalid(format!("name: {error}")))?;
        }
        for (field, text) in [
            ("version", &self.version),
            ("description", &self.description),
        ] {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > TEXT_BYTES_MAX)
            {
                return Err(invalid(format!(
                    "{field} is longer than {TEXT_BYTES_MAX} bytes"
                )));
            }
        }
        for (name, value) in self.limits.named() {
            if value == 0 && !MAY_BE_ZERO.contains(&name) {
                return Err(invalid(format!(
                    "limits.{name} is 0, so no task could run; leave it out or raise it"
                )));
            }
        }
        let lists = [
            (
                "capabilities.outgoing_hosts",
                self.capabilities.outgoing_hosts.len(),
            ),
            (
                "capabilities.environment",
                self.capabilities.environment.len(),
            ),
            ("state", self.state.len()),
        ];
        if let Some((field, _)) = lists.iter().find(|(_, len)| *len > ENTRIES_MAX) {
            return Err(invalid(format!(
                "{field} has more than {ENTRIES_MAX} entries"
            )));
        }
        for host in &self.capabilities.outgoing_hosts {
            check_host(host)?;
        }
        for name in &self.capabilities.environment {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(invalid(format!(
                    "capabilities.environment: '{name}' is not a variable's name"
                )));
            }
        }
        for (number, state) in self.state.iter().enumerate() {
            if state.name.is_empty() || state.name.len() > 128 {
                return Err(invalid("state: a name has 1 to 128 bytes"));
            }
            if self.state[..number]
                .iter()
                .any(|other| other.name == state.name)
            {
                return Err(invalid(format!(
                    "state: '{}' is declared twice",
                    state.name
                )));
            }
        }
        let reuse = self.instances.policy == InstancePolicy::Reuse;
        if !reuse && (self.instances.tasks_max.is_some() || self.instances.idle_ms_max.is_some()) {
            return Err(invalid(
                "instances: tasks_max and idle_ms_max need policy = \"reuse\"",
            ));
        }
        if self.instances.tasks_max == Some(0) {
            return Err(invalid(
                "instances.tasks_max is 0; leave it out or give at least 1",
            ));
        }
        Ok(self)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::ManifestInvalid(message.into())
}

fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > MANIFEST_BYTES_MAX {
        return Err(invalid(format!(
            "it has {bytes} bytes, the bound is {MANIFEST_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn check_host(pattern: &str) -> Result<(), Error> {
    let refuse = || {
        Err(invalid(format!(
            "capabilities.outgoing_hosts: '{pattern}' is not a host; give host, host:port or *.domain"
        )))
    };
    let (host, port) = match pattern.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(']') || !port.is_empty() => (host, Some(port)),
        _ => (pattern, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return refuse();
    }
    let bare = host.strip_prefix("*.").unwrap_or(host);
    let is_v6 = bare.starts_with('[') && bare.ends_with(']');
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let v6 = |byte: u8| byte.is_ascii_hexdigit() || b":.[]".contains(&byte);
    if bare.is_empty()
        || !bare
            .bytes()
            .all(|byte| if is_v6 { v6(byte) } else { named(byte) })
    {
        return refuse();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
name = "event-transform"
version = "1.2.3"
description = "Enriches flight events."
[limits]
memory_bytes_max = 1000000
wall_ms_max = 5000
[capabilities]
outgoing_hosts = ["example.org:443", "*.example.org", "[::1]:80"]
environment = ["LANG"]
[[state]]
name = "buffer"
mode = "ro"
[instances]
policy = "reuse"
tasks_max = 100
"#;

    #[test]
    fn what_is_authored_is_stored_canonically() {
        let manifest = Manifest::from_toml(FULL).expect("valid");
        let json = manifest.to_canonical_json();
        assert_eq!(Manifest::from_json(&json).expect("valid"), manifest);
        let text = String::from_utf8(json).expect("JSON is UTF-8");
        assert!(
            text.starts_with(r#"{"capabilities":{"environment":["LANG"],"outgoing_hosts":"#),
            "{text}"
        );
        assert!(
            text.contains(r#""limits":{"memory_bytes_max":1000000,"wall_ms_max":5000}"#),
            "{text}"
        );
        assert_eq!(Manifest::default().to_canonical_json(), b"{}");
        let limits = manifest.limits.over(&TaskLimits::DEFAULT);
        assert_eq!(
            (limits.wall_ms_max, limits.cpu_ms_max),
            (5000, TaskLimits::DEFAULT.cpu_ms_max)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, names) in [
            ("nane = \"x\"", "nane"),
            ("name = 7", "name"),
            ("name = \"Upper\"", "Upper"),
            ("[limits]\nwall_ms_max = 0", "wall_ms_max"),
            ("[limits]\nwall_ms_max = -1", "wall_ms_max"),
            ("[limits]\nwall_seconds = 1", "wall_seconds"),
            (
                "[capabilities]\noutgoing_hosts = [\"http://x\"]",
                "http://x",
            ),
            ("[capabilities]\noutgoing_hosts = [\"x:99999\"]", "x:99999"),
            ("[capabilities]\nenvironment = [\"A=B\"]", "A=B"),
            ("[[state]]\nname = \"a\"\n[[state]]\nname = \"a\"", "twice"),
            ("[[state]]\nname = \"a\"\nmode = \"wr\"", "wr"),
            ("[instances]\ntasks_max = 3", "reuse"),
            ("not toml", "line 1"),
        ] {
            let message = Manifest::from_toml(toml).expect_err(toml).to_string();
            assert!(message.contains(names), "{toml}: {message}");
        }
        let huge = format!("description = \"{}\"", "x".repeat(MANIFEST_BYTES_MAX));
        assert!(Manifest::from_toml(&huge).is_err());
        assert!(Manifest::from_json(b"\xff").is_err());
    }
}

//! VYR's own manifest: what an artifact may use and how it wants to be run.
//!
//! It is written as TOML and stored as canonical JSON (keys sorted, no whitespace, what is absent
//! or default left out), so that one meaning has one digest. Every field may be left out; unknown
//! fields are refused.

use serde::{Deserialize, Deserializer, Serialize};

use super::error::Error;
use super::host::HostPattern;
use super::json::canonical;
use super::name::Name;
use crate::limits::{MANIFEST_BYTES_MAX, NAME_BYTES_MAX, TaskLimits};
use crate::state::Mode;

/// Longest description, bytes.
const DESCRIPTION_BYTES_MAX: usize = 4096;

/// An artifact's manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// What the artifact calls itself: a [`Name`], without a tag.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "name")]
    pub name: Option<String>,
    /// Its version, free text of one line.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "version")]
    pub version: Option<String>,
    /// What it does.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "description"
    )]
    pub description: Option<String>,
    /// The limits of its tasks; what is absent takes the node's default.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: ManifestLimits,
    /// What its tasks may reach outside of themselves.
    #[serde(skip_serializing_if = "is_default")]
    pub capabilities: Capabilities,
    /// The state it uses.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "states")]
    pub state: Vec<StateDeclaration>,
    /// How its instances are used.
    #[serde(skip_serializing_if = "is_default")]
    pub instances: Instances,
}

/// What a task of the artifact may reach outside of itself; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Hosts that it may call, each a [`HostPattern`].
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "hosts")]
    pub outgoing_hosts: Vec<String>,
    /// Environment variables that a submitter may set; when empty, any.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "environment"
    )]
    pub environment: Vec<String>,
}

/// The limits an artifact asks for; each as in [`TaskLimits`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestLimits {
    /// Wall time from start to end, milliseconds; at least 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "positive")]
    pub wall_ms_max: Option<u64>,
    /// Time the guest computes, milliseconds; at least 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "positive")]
    pub cpu_ms_max: Option<u64>,
    /// Linear memory of all the task's memories together, bytes; at least 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "positive")]
    pub memory_bytes_max: Option<u64>,
    /// Elements of all the task's tables together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements_max: Option<u64>,
    /// Core instances inside the component; at least 1.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "positive")]
    pub instances_max: Option<u64>,
    /// Output kept for later reading, bytes; 0 keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes_max: Option<u64>,
    /// Log kept, bytes; 0 keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes_max: Option<u64>,
    /// State the task may hold, bytes; 0 allows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes_max: Option<u64>,
}

/// One state that the artifact's guest opens by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateDeclaration {
    /// The name that the guest opens.
    #[serde(deserialize_with = "state_name")]
    pub name: String,
    /// What the guest does with it; `rw` if absent.
    #[serde(default)]
    pub mode: Mode,
}

/// Whether an instance serves one task or several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawInstances")]
pub struct Instances {
    /// The policy.
    pub policy: InstancePolicy,
    /// Tasks that one instance serves before it is replaced; only with `reuse`, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    /// Time an instance may wait for its next task, milliseconds; only with `reuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms_max: Option<u64>,
}

/// The two policies for instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancePolicy {
    /// A new instance for every task: nothing of one task can reach another.
    #[default]
    Fresh,
    /// An instance serves several tasks, one after the other; what a task leaves in its memory,
    /// the next one finds.
    Reuse,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct RawInstances {
    policy: InstancePolicy,
    tasks_max: Option<u32>,
    idle_ms_max: Option<u64>,
}

impl TryFrom<RawInstances> for Instances {
    type Error = &'static str;

    fn try_from(raw: RawInstances) -> Result<Self, Self::Error> {
        let RawInstances {
            policy,
            tasks_max,
            idle_ms_max,
        } = raw;
        if tasks_max == Some(0) {
            return Err("tasks_max is 0; give at least 1, or leave it out");
        }
        if policy == InstancePolicy::Fresh && (tasks_max.is_some() || idle_ms_max.is_some()) {
            return Err("tasks_max and idle_ms_max need policy = \"reuse\"");
        }
        Ok(Self {
            policy,
            tasks_max,
            idle_ms_max,
        })
    }
}

impl Manifest {
    /// Reads a manifest as its author writes it.
    ///
    /// # Errors
    /// [`Error::Manifest`] with line, field and remedy.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        check_size(text.len())?;
        let line_of = |error: &toml::de::Error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            before.bytes().filter(|&byte| byte == b'\n').count() + 1
        };
        let explain = |field: String, error: &toml::de::Error| {
            let message = error.message().replace('\n', ", ");
            Error::manifest(format!("line {}{field}: {message}", line_of(error)))
        };
        let document =
            toml::Deserializer::parse(text).map_err(|error| explain(String::new(), &error))?;
        serde_path_to_error::deserialize(document)
            .map_err(|error| explain(field(error.path()), error.inner()))
    }

    /// Reads a manifest in JSON, canonical or not.
    ///
    /// # Errors
    /// [`Error::Manifest`] with line, column, field and remedy.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes.len())?;
        // Serde would take an array for a struct whose fields are given by position.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Error::manifest(
                "invalid: it is not a JSON object; '{}' is the default one",
            ));
        }
        let mut document = serde_json::Deserializer::from_slice(bytes);
        let manifest = serde_path_to_error::deserialize(&mut document).map_err(|error| {
            // The message ends with "at line 1 column 2".
            let path = field(error.path());
            Error::manifest(format!(
                "{}{}",
                error.inner(),
                path.replacen(", field", ", in field", 1)
            ))
        })?;
        document
            .end()
            .map_err(|error| Error::manifest(error.to_string()))?;
        Ok(manifest)
    }

    /// The manifest as it is stored: canonical JSON. The default manifest is `{}`.
    #[must_use]
    pub fn to_canonical_json(&self) -> Vec<u8> {
        canonical(self)
    }
}

impl ManifestLimits {
    /// These limits where they are given, `base` elsewhere.
    #[must_use]
    pub fn over(&self, base: &TaskLimits) -> TaskLimits {
        TaskLimits {
            wall_ms_max: self.wall_ms_max.unwrap_or(base.wall_ms_max),
            cpu_ms_max: self.cpu_ms_max.unwrap_or(base.cpu_ms_max),
            memory_bytes_max: self.memory_bytes_max.unwrap_or(base.memory_bytes_max),
            table_elements_max: self.table_elements_max.unwrap_or(base.table_elements_max),
            instances_max: self.instances_max.unwrap_or(base.instances_max),
            output_bytes_max: self.output_bytes_max.unwrap_or(base.output_bytes_max),
            log_bytes_max: self.log_bytes_max.unwrap_or(base.log_bytes_max),
            state_bytes_max: self.state_bytes_max.unwrap_or(base.state_bytes_max),
        }
    }
}

impl Capabilities {
    /// The hosts that a task may call.
    pub fn host_patterns(&self) -> impl Iterator<Item = HostPattern> {
        // Reading the manifest has checked them.
        self.outgoing_hosts
            .iter()
            .filter_map(|text| text.parse().ok())
    }
}

fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > MANIFEST_BYTES_MAX {
        return Err(Error::manifest(format!(
            "it has {bytes} bytes, the bound is {MANIFEST_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// `, field a.b` unless the error concerns the document as a whole.
fn field(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_none() {
        String::new()
    } else {
        format!(", field {path}")
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        Some(0) => Err(serde::de::Error::custom(
            "it is 0; give at least 1, or leave it out",
        )),
        other => Ok(other),
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| {
        text.parse::<Name>()
            .map(drop)
            .map_err(|error| error.to_string())
    })
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| match text {
        "" => Err("it is empty; leave it out instead".into()),
        text if text.len() > NAME_BYTES_MAX => Err(format!(
            "it has {} bytes, the bound is {NAME_BYTES_MAX}",
            text.len()
        )),
        text if text.contains(char::is_control) => Err("it has a control character".into()),
        _ => Ok(()),
    })
}

fn description<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| match text.len() {
        bytes if bytes > DESCRIPTION_BYTES_MAX => Err(format!(
            "it has {bytes} bytes, the bound is {DESCRIPTION_BYTES_MAX}"
        )),
        _ if text.contains(|c: char| c.is_control() && c != '\n') => {
            Err("it has a control character other than a line end".into())
        }
        _ => Ok(()),
    })
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref()
        .map_or(Ok(()), check)
        .map_err(serde::de::Error::custom)?;
    Ok(text)
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    each(deserializer, |text| text.parse::<HostPattern>().map(drop))
}

fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    each(deserializer, |text| {
        let fits = text.len() <= NAME_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && text
                .bytes()
                .next()
                .is_some_and(|byte| !byte.is_ascii_digit());
        let text: String = text.chars().take(64).collect();
        fits.then_some(()).ok_or_else(|| {
            format!(
                "'{text}' is not an environment name; use letters, digits and _, no digit first"
            )
        })
    })
}

/// A list of distinct texts that each pass `check`.
fn each<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let mut seen = std::collections::BTreeSet::new();
    for text in &texts {
        check(text).map_err(serde::de::Error::custom)?;
        if !seen.insert(text) {
            return Err(serde::de::Error::custom(format!(
                "'{text}' stands twice; remove one"
            )));
        }
    }
    Ok(texts)
}

fn state_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    // wasmtime's own store has the empty name.
    let fits = text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !fits {
        return Err(serde::de::Error::custom(
            "a state's name is at most 128 letters, digits and . _ -",
        ));
    }
    Ok(text)
}

fn states<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StateDeclaration>, D::Error> {
    let states = Vec::<StateDeclaration>::deserialize(deserializer)?;
    let mut seen = std::collections::BTreeSet::new();
    for state in &states {
        if !seen.insert(&state.name) {
            return Err(serde::de::Error::custom(format!(
                "the state '{}' is declared twice; remove one",
                state.name
            )));
        }
    }
    Ok(states)
}

#[cfg(test)]
mod tests;

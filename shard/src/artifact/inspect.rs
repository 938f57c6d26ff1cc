//! Looks at the bytes of an artifact without compiling them: what it is, which worlds it exports,
//! and whether VYR has everything it imports.
//!
//! A WASI preview-1 command module becomes a component here by the standard adapter, so the rest of
//! VYR knows only components.

use std::borrow::Cow;

use vyr_core::task::Kind;
use wasmparser::{Encoding, Parser, Payload};

use crate::error::Error;

/// What an artifact's bytes are.
#[derive(Debug)]
pub struct Inspected<'a> {
    /// The component: the bytes given, or the component made around a core module.
    pub component: Cow<'a, [u8]>,
    /// How it can be driven; never empty.
    pub kinds: Vec<Kind>,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
}

const COMMAND_EXPORT: &str = "wasi:cli/run@0.2";
const HTTP_EXPORT: &str = "wasi:http/incoming-handler@0.2";
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The interfaces VYR offers to guests, each in any version 0.2.x.
const OFFERED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The drafts that VYR offers, in exactly these versions.
const OFFERED_DRAFTS: &[&str] = &[
    "wasi:config/store@0.2.0-draft",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:logging/logging",
    "wasi:logging/logging@0.1.0-draft",
    "wasi:otel/logs@0.2.0-rc.2",
    "wasi:otel/metrics@0.2.0-rc.2",
    "wasi:otel/tracing@0.2.0-rc.2",
    "wasi:otel/types@0.2.0-rc.2",
];

/// Reads the outer structure of `wasm`.
///
/// # Errors
/// [`Error::ArtifactInvalid`], naming the import or export at fault and what would satisfy it.
pub fn inspect(wasm: &[u8]) -> Result<Inspected<'_>, Error> {
    let component = match encoding(wasm)? {
        Encoding::Component => Cow::Borrowed(wasm),
        Encoding::Module => Cow::Owned(wrap_preview_1(wasm)?),
    };
    let (imports, exports) = interfaces(&component)?;
    if let Some(import) = imports.iter().find(|import| !is_offered(import)) {
        return Err(Error::ArtifactInvalid(explain_import(import)));
    }
    let kinds: Vec<Kind> = [(Kind::Command, COMMAND_EXPORT), (Kind::Http, HTTP_EXPORT)]
        .into_iter()
        .filter(|(_, interface)| {
            exports
                .iter()
                .any(|export| is_version_of(export, interface))
        })
        .map(|(kind, _)| kind)
        .collect();
    if kinds.is_empty() {
        return Err(Error::ArtifactInvalid(explain_exports(&exports)));
    }
    Ok(Inspected {
        component,
        kinds,
        imports,
        exports,
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::ArtifactInvalid(message.into())
}

fn encoding(wasm: &[u8]) -> Result<Encoding, Error> {
    if !wasm.starts_with(b"\0asm") {
        let hint = if wasm.starts_with(b"(") {
            "it looks like the text format; convert it with 'wasm-tools parse'"
        } else {
            "give a .wasm file: a WASI 0.2 component or a preview-1 command module"
        };
        return Err(invalid(format!("these bytes are not WebAssembly; {hint}")));
    }
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        Some(Err(error)) => Err(invalid(format!("malformed WebAssembly: {error}"))),
        _ => Err(invalid("malformed WebAssembly: no version header")),
    }
}

/// The names of the outermost component's imports and exports.
fn interfaces(component: &[u8]) -> Result<(Vec<String>, Vec<String>), Error> {
    let malformed = |error| invalid(format!("malformed component: {error}"));
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Whether `name` is `interface` (written up to the minor version) in any patch version.
fn is_version_of(name: &str, interface: &str) -> bool {
    name.strip_prefix(interface).is_some_and(|rest| {
        rest.strip_prefix('.')
            .is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn is_offered(import: &str) -> bool {
    let is_stable = |(interface, version): (&str, &str)| {
        OFFERED.contains(&interface) && is_version_of(version, "0.2")
    };
    OFFERED_DRAFTS.contains(&import) || import.split_once('@').is_some_and(is_stable)
}

fn explain_import(import: &str) -> String {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let remedy = if version.starts_with("0.3") {
        "VYR runs WASI 0.2; build for 'wasm32-wasip2' or with a WASI 0.2 world".to_owned()
    } else if OFFERED.contains(&interface) {
        format!("VYR has {interface} in version 0.2; build with the WASI 0.2 interfaces")
    } else if let Some(draft) = OFFERED_DRAFTS.iter().find(|draft| {
        draft
            .split_once('@')
            .is_some_and(|(name, _)| name == interface)
    }) {
        format!(
            "VYR has {draft}; build for wasi:keyvalue 0.2.0-draft or 0.2.0-draft2, wasi:config 0.2.0-rc.1 or 0.2.0-draft, \
             wasi:logging 0.1.0-draft, wasi:otel 0.2.0-rc.2"
        )
    } else if interface.starts_with("wasi:") {
        "VYR offers wasi:cli, clocks, filesystem (empty), http, io, random and sockets (denied), version 0.2, config, keyvalue, logging and otel; \
         remove the import or build without the feature that needs it"
            .to_owned()
    } else {
        "VYR offers only standard WASI 0.2 interfaces; satisfy it inside the component, for instance with \
         'wac plug' or 'wasm-tools compose'"
            .to_owned()
    };
    format!("the component imports '{import}', which VYR does not have; {remedy}")
}

fn explain_exports(exports: &[String]) -> String {
    let has = if exports.is_empty() {
        "nothing".to_owned()
    } else {
        format!("only '{}'", exports.join("', '"))
    };
    let newer = exports
        .iter()
        .find(|export| export.starts_with("wasi:cli/run@") || export.starts_with("wasi:http/"));
    let remedy = if newer.is_some() {
        "VYR runs WASI 0.2; build for a WASI 0.2 world"
    } else {
        "a command exports 'wasi:cli/run@0.2.x' (a program with a main function), an HTTP handler exports \
         'wasi:http/incoming-handler@0.2.x'"
    };
    format!("the component exports {has}, so VYR cannot drive it; {remedy}")
}

/// Makes a component of a preview-1 command module.
fn wrap_preview_1(module: &[u8]) -> Result<Vec<u8>, Error> {
    let malformed =
        |error: wasmparser::BinaryReaderError| invalid(format!("malformed core module: {error}"));
    let mut has_start = false;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(malformed)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    if import.module != PREVIEW_1 {
                        return Err(invalid(format!(
                            "the core module imports '{}.{}', which VYR does not have; a core module may import \
                             only '{PREVIEW_1}': build it as a WASI 0.2 component, or for 'wasm32-wasip1' without \
                             other host functions",
                            import.module, import.name
                        )));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    has_start |= export.map_err(malformed)?.name == "_start";
                }
            }
            _ => {}
        }
    }
    if !has_start {
        return Err(invalid(
            "the core module does not export '_start', so it is no command; build a program with a main function for \
             'wasm32-wasip1', or a WASI 0.2 component",
        ));
    }
    let encode = || {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .adapter(
                PREVIEW_1,
                wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )?
            .encode()
    };
    encode().map_err(|error| {
        invalid(format!(
            "the core module cannot become a component: {error:#}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_up_to_the_patch() {
        assert!(is_offered("wasi:io/streams@0.2.0"));
        assert!(is_offered("wasi:io/streams@0.2.12"));
        assert!(!is_offered("wasi:io/streams@0.3.0"));
        assert!(!is_offered("wasi:io/streams@0.2.0-rc-2023-11-10"));
        assert!(!is_offered("wasi:io/streams@0.20.0"));
        assert!(!is_offered("wasi:io/streams"));
        assert!(!is_offered("example:io/streams@0.2.0"));
        assert!(is_offered("wasi:keyvalue/store@0.2.0-draft"));
        assert!(!is_offered("wasi:keyvalue/store@0.2.0-draft3"));
        assert!(!is_offered("wasi:keyvalue/watcher@0.2.0-draft"));
        assert!(is_offered("wasi:logging/logging"));
        assert!(is_offered("wasi:otel/tracing@0.2.0-rc.2"));
        assert!(!is_offered("wasi:otel/tracing@0.2.0-rc.1"));
    }

    #[test]
    fn other_bytes_are_refused_with_a_hint() {
        for (bytes, hint) in [
            (&b""[..], "not WebAssembly"),
            (b"hello", "not WebAssembly"),
            (b"(component)", "wasm-tools parse"),
            (b"\0asm", "malformed"),
            (b"\0asm\x01\0\0\0", "_start"),
            (b"\0asm\x0d\0\x01\0", "exports nothing"),
            (b"\0asm\x0d\0\x01\0\xff\xff\xff", "malformed"),
        ] {
            let message = inspect(bytes).expect_err("not an artifact").to_string();
            assert!(message.contains(hint), "{bytes:?}: {message}");
        }
    }
}

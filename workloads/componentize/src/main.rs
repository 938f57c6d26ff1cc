//! Turns what a compiler emits into the artifacts that are committed: core modules into components,
//! WebAssembly text into binaries. It uses the encoder as a library so that building the guests
//! needs no other tool, and it is deterministic: the same input gives the same bytes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wasm_encoder::{Module, RawSection};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

const USAGE: &str = "usage: componentize component [--keep-names] CORE.wasm OUT.wasm
       componentize strip [--keep-names] CORE.wasm OUT.wasm
       componentize text IN.wat OUT.wasm
       componentize interface FILE.wasm";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["component", "--keep-names", input, output] => component(input, output, Names::Keep),
        ["component", input, output] => component(input, output, Names::Drop),
        ["strip", "--keep-names", input, output] => strip(input, output, Names::Keep),
        ["strip", input, output] => strip(input, output, Names::Drop),
        ["text", input, output] => text(input, output),
        ["interface", input] => interface(input),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the `name` section stays, which is what makes a backtrace readable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Keep,
    Drop,
}

/// Encodes a core module, whose sections describe its world, as a component.
fn component(input: &str, output: &str, names: Names) -> Result<()> {
    let module = without_custom_sections(&read(input)?, names)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .with_context(|| format!("{input} does not describe a world"))?
        .encode()
        .with_context(|| format!("cannot encode {input} as a component"))?;
    write(output, &component)
}

/// Writes a core module without debug information.
fn strip(input: &str, output: &str, names: Names) -> Result<()> {
    write(output, &without_custom_sections(&read(input)?, names)?)
}

/// Assembles WebAssembly text, of a module or a component.
fn text(input: &str, output: &str) -> Result<()> {
    let bytes = wat::parse_file(input).with_context(|| format!("cannot assemble {input}"))?;
    write(output, &bytes)
}

/// Prints the imports and exports of a component or module, one a line.
fn interface(input: &str) -> Result<()> {
    let bytes = read(input)?;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.with_context(|| format!("cannot read {input}"))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    println!("import {}", import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    println!("export {}", export?.name.name);
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    let import = import?;
                    println!("import {} {}", import.module, import.name);
                }
            }
            Payload::ExportSection(section) if depth == 0 => {
                for export in section {
                    println!("export {}", export?.name);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Copies a core module, leaving out every custom section but the description of its world and,
/// when asked, the names. What is left out are debug information and the tools' versions.
fn without_custom_sections(bytes: &[u8], names: Names) -> Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            bail!("a core module is wanted, this is a component");
        }
        if let Payload::CustomSection(section) = &payload {
            let keep = section.name().starts_with("component-type")
                || (section.name() == "name" && names == Names::Keep);
            if !keep {
                continue;
            }
        }
        if let Some((id, range)) = payload.as_section() {
            let data = bytes.get(range).context("a section reaches beyond the end")?;
            module.section(&RawSection { id, data });
        }
    }
    Ok(module.finish())
}

fn read(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {path}"))
}

fn write(path: &str, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {path}"))
}

//! A store in a temporary directory, and artifacts for it.

use std::process::Command;

use vyr_core::artifact::{Manifest, Name, NewArtifact, Prepared, Put, Store, Tag};
use vyr_core::task::Kind;

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&dir.path().join("store")).expect("a new store");
    (dir, store)
}

/// Stands for a component: the store does not look inside.
pub(crate) fn wasm(number: usize) -> Vec<u8> {
    format!("component {number}").into_bytes()
}

pub(crate) fn prepare(wasm: &[u8]) -> Prepared {
    let manifest = Manifest::from_toml("description = \"a test\"").expect("a valid manifest");
    Prepared::new(&NewArtifact {
        wasm,
        manifest: &manifest,
        kinds: &[Kind::Command],
        imports: &["wasi:cli/stdin@0.2.0".into()],
        exports: &["wasi:cli/run@0.2.0".into()],
    })
}

pub(crate) fn put(store: &Store, number: usize, name: Option<&str>, signatures: &[Vec<u8>]) -> Put {
    let wasm = wasm(number);
    let name = name.map(|name| (name.parse::<Name>().expect("a name"), Tag::default()));
    store
        .put(&prepare(&wasm), &wasm, name.as_ref(), signatures)
        .expect("it is stored")
}

/// Whether a tool is there; when it is not, the test says that it is skipped.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "{tool} is not installed"
        );
        eprintln!("skipped: {tool} is not installed; scripts/test-dependencies installs it");
    }
    found
}

/// Runs a tool that must succeed, and gives its standard output.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(tool)
        .args(arguments)
        .output()
        .expect("the tool runs");
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

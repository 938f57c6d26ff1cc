//! A byte that changes on disk is found and named, whichever it is.

use std::path::Path;

use vyr_core::artifact::{Algorithm, Error, SigningKey, Store};

use crate::support::*;

/// Reads everything of the one artifact.
fn read(dir: &Path) -> Result<(), Error> {
    let store = Store::open(dir)?;
    for digest in store.list()? {
        let artifact = store.get(&digest)?;
        store.wasm(&artifact)?;
    }
    Ok(())
}

#[test]
fn every_flipped_byte_of_every_blob_is_found() {
    let (dir, store) = store();
    let key = SigningKey::generate(Algorithm::EcdsaP256).expect("a key");
    let signature = key.sign(&prepare(&wasm(1)).oci_manifest);
    put(&store, 1, Some("one"), &[signature]);
    let dir = dir.path().join("store");
    let mut named = std::collections::BTreeSet::new();
    let mut blobs = 0;
    for entry in std::fs::read_dir(dir.join("blobs/sha256")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let good = std::fs::read(&path).expect("a blob");
        if good == b"{}" {
            // The empty config of the signature: its bytes are known and never read.
            continue;
        }
        blobs += 1;
        for position in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[position] ^= 1;
            std::fs::write(&path, &bad).expect("writable");
            match read(&dir).expect_err("a flipped byte is found") {
                Error::Corrupt {
                    what, path: found, ..
                } => {
                    assert_eq!(found, path);
                    named.insert(what);
                }
                other => panic!("{}: {other}", path.display()),
            }
        }
        std::fs::write(&path, &good[..good.len() - 1]).expect("writable");
        assert!(read(&dir).is_err(), "a truncated file is found");
        std::fs::write(&path, &good).expect("writable");
    }
    read(&dir).expect("whole again");
    assert_eq!(blobs, 6);
    let expected = [
        "a signature",
        "a signature's manifest",
        "the OCI manifest",
        "the VYR manifest",
        "the component",
        "the config",
    ];
    assert_eq!(named, expected.into());
}

#[test]
fn a_damaged_index_is_named_and_a_missing_blob_too() {
    let (dir, store) = store();
    let digest = put(&store, 1, Some("one"), &[]).digest;
    let artifact = store.get(&digest).expect("it is there");
    let dir = dir.path().join("store");
    std::fs::remove_file(dir.join("blobs/sha256").join(artifact.wasm_digest.hex()))
        .expect("a blob");
    let error = read(&dir).expect_err("a missing blob").to_string();
    assert!(
        error.contains("the component") && error.contains("no file"),
        "{error}"
    );
    put(&store, 1, None, &[]);
    read(&dir).expect("putting it again mends it");
    std::fs::write(dir.join("index.json"), b"{\"schemaVersion\":2,").expect("writable");
    let error = read(&dir).expect_err("a damaged index").to_string();
    assert!(error.contains("index.json"), "{error}");
}

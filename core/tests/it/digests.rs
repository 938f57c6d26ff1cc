//! A digest is for ever: the same artifact must have the same one in every version of VYR.

use vyr_core::artifact::{Error, Manifest, NewArtifact, Prepared};
use vyr_core::task::Kind;

use crate::support::*;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn prepared(wasm: &[u8], manifest: &Manifest, exports: &[&str], kinds: &[Kind]) -> Prepared {
    let exports: Vec<String> = exports.iter().map(|text| (*text).to_owned()).collect();
    Prepared::new(&NewArtifact {
        wasm,
        manifest,
        kinds,
        imports: &[],
        exports: &exports,
    })
}

#[test]
fn the_documents_are_frozen() {
    let manifest = Manifest::from_toml("name = 'hello'\nversion = '1'").expect("it is valid");
    let made = prepared(
        COMPONENT,
        &manifest,
        &["b", "a"],
        &[Kind::Http, Kind::Command],
    );
    let text = String::from_utf8(made.oci_manifest).expect("JSON");
    let expected = concat!(
        r#"{"annotations":{"org.opencontainers.image.title":"hello","org.opencontainers.image.version":"1","#,
        r#""org.vyr.kinds":"command,http"},"config":{"digest":"#,
        r#""sha256:CONFIG","mediaType":"application/vnd.wasm.config.v0+json","size":CONFIG_BYTES},"#,
        r#""layers":[{"digest":"sha256:WASM","mediaType":"application/wasm","size":8},"#,
        r#"{"digest":"sha256:VYR","mediaType":"application/vnd.vyr.manifest.v1+json","size":30}],"#,
        r#""mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}"#
    );
    let hex = |bytes: &[u8]| vyr_core::digest::Digest::of(bytes).hex();
    let vyr = br#"{"name":"hello","version":"1"}"#;
    let config = format!(
        r#"{{"architecture":"wasm","component":{{"exports":["a","b"],"imports":[]}},"layerDigests":["sha256:{}","sha256:{}"],"os":"wasip2"}}"#,
        hex(COMPONENT),
        hex(vyr)
    );
    let expected = expected
        .replace("CONFIG_BYTES", &config.len().to_string())
        .replace("CONFIG", &hex(config.as_bytes()))
        .replace("WASM", &hex(COMPONENT))
        .replace("VYR", &hex(vyr));
    assert_eq!(text, expected);
}

#[test]
fn order_and_name_do_not_matter_and_content_does() {
    let manifest = Manifest::default();
    let digest = |wasm, manifest, exports: &[&str]| prepared(wasm, manifest, exports, &[]).digest;
    let base = digest(COMPONENT, &manifest, &["a", "b"]);
    assert_eq!(digest(COMPONENT, &manifest, &["b", "a"]), base);
    assert_ne!(digest(MODULE, &manifest, &["a", "b"]), base);
    let other = Manifest::from_toml("version = '2'").expect("it is valid");
    assert_ne!(digest(COMPONENT, &other, &["a", "b"]), base);
}

#[test]
fn what_could_not_be_read_back_is_not_stored() {
    let (_dir, store) = store();
    let manifest = Manifest {
        name: Some("Not A Name".into()),
        ..Manifest::default()
    };
    let made = prepared(COMPONENT, &manifest, &[], &[]);
    let error = store
        .put(&made, COMPONENT, None, &[])
        .expect_err("an invalid manifest");
    assert!(matches!(error, Error::Manifest { .. }), "{error}");
    let made = prepared(COMPONENT, &Manifest::default(), &[], &[]);
    let error = store
        .put(&made, MODULE, None, &[])
        .expect_err("other bytes than were prepared");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let error = store
        .put(&made, COMPONENT, None, &[b"junk".to_vec()])
        .expect_err("no signature");
    assert!(matches!(error, Error::SignatureMalformed { .. }), "{error}");
    let many: Vec<Vec<u8>> = (0..33).map(|number| vec![number; 64]).collect();
    let error = store
        .put(&made, COMPONENT, None, &many)
        .expect_err("too many")
        .to_string();
    assert!(error.contains("33 signatures, the bound is 32"), "{error}");
    assert!(store.list().expect("a list").is_empty());
    let blobs = std::fs::read_dir(store.dir().join("blobs/sha256"))
        .expect("a directory")
        .count();
    assert_eq!(blobs, 0, "no blob of a refused put stays");
}

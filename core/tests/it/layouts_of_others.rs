//! Layouts that other tools made, or that are damaged or hostile.

use std::path::{Path, PathBuf};

use vyr_core::artifact::{Error, SigningKey, Store, TrustKeys};
use vyr_core::digest::Digest;
use vyr_core::problem::Code;

use crate::support::*;

const WASM: &str = "application/wasm";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layout that is written by hand, as another tool would.
struct Layout {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Layout {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("layout");
        std::fs::create_dir_all(path.join("blobs/sha256")).expect("directories");
        std::fs::write(
            path.join("oci-layout"),
            r#"{"imageLayoutVersion": "1.0.0"}"#,
        )
        .expect("writable");
        Self { _dir: dir, path }
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        std::fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).expect("writable");
        digest.to_string()
    }

    fn layer(&self, media_type: &str, bytes: &[u8]) -> String {
        let digest = self.blob(bytes);
        format!(
            r#"{{"mediaType":"{media_type}", "digest":"{digest}", "size":{}}}"#,
            bytes.len()
        )
    }

    /// As `oras push` makes it: an empty config, a title on the layer, whitespace.
    fn manifest(&self, layers: &[String]) -> String {
        let config = self.layer("application/vnd.oci.empty.v1+json", b"{}");
        let text = format!(
            "{{ \"schemaVersion\": 2,\n \"mediaType\": \"{MANIFEST}\",\n \"artifactType\": \"application/x\",\n \
             \"config\": {config}, \"layers\": [{}], \"unknown\": true }}",
            layers.join(", ")
        );
        let digest = self.blob(text.as_bytes());
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}"#,
            text.len()
        )
    }

    fn index(&self, manifests: &[String]) {
        let text = format!(
            r#"{{"schemaVersion":2, "manifests":[{}]}}"#,
            manifests.join(",")
        );
        std::fs::write(self.path.join("index.json"), text).expect("writable");
    }
}

fn refused(store: &Store, layout: &Path) -> Error {
    let error = store.import(layout).expect_err("it is refused");
    assert!(
        store.list().expect("a list").is_empty(),
        "nothing is visible"
    );
    error
}

#[test]
fn one_wasm_layer_is_enough_and_the_digest_stays() {
    let (_dir, store) = store();
    let layout = Layout::new();
    let entry = layout.manifest(&[layout.layer(WASM, &wasm(1))]);
    layout.index(std::slice::from_ref(&entry));
    let arrivals = store.import(&layout.path).expect("it is taken");
    assert_eq!(arrivals.len(), 1);
    assert!(arrivals[0].created && entry.contains(&arrivals[0].digest.to_string()));
    let artifact = store.get(&arrivals[0].digest).expect("it is there");
    assert_eq!(artifact.names, ["v1:latest"]);
    assert!(artifact.kinds.is_empty(), "its maker did not say");
    assert_eq!(artifact.manifest.to_canonical_json(), b"{}");
    assert_eq!(store.wasm(&artifact).expect("whole"), wasm(1));
    assert!(!store.import(&layout.path).expect("again")[0].created);
}

#[test]
fn other_forms_are_refused_with_their_reason() {
    let (_dir, store) = store();
    let layout = Layout::new();
    let good = layout.layer(WASM, &wasm(1));
    let tar = layout.layer("application/vnd.oci.image.layer.v1.tar+gzip", b"x");
    let cases = [
        (vec![layout.manifest(&[])], "0 layers application/wasm"),
        (
            vec![layout.manifest(&[good.clone(), layout.layer(WASM, b"2")])],
            "2 layers application/wasm",
        ),
        (
            vec![layout.manifest(&[good.clone(), tar])],
            "image.layer.v1.tar+gzip",
        ),
        (
            vec![layout.layer("application/vnd.oci.image.index.v1+json", b"{}")],
            "several platforms",
        ),
        (
            vec![layout.layer("application/json", b"{}")],
            "has the type 'application/json'",
        ),
        (
            vec![layout.layer(MANIFEST, b"{}")],
            "not an OCI image manifest",
        ),
        (vec![], "no artifact"),
        (vec!["{\"mediaType\":1}".into()], "index.json is damaged"),
        (
            vec![good.replace("sha256:", "sha256:../../../../etc/passwd#")],
            "is not a digest",
        ),
        (
            vec![layout.manifest(&[good.replace("\"size\":11", "\"size\":12")])],
            "gives it 12 bytes",
        ),
        (
            vec![layout.manifest(std::slice::from_ref(&good)); 1025],
            "the bound is 1024",
        ),
        // A good artifact before a bad one is not taken either.
        (
            vec![
                layout.manifest(std::slice::from_ref(&good)),
                layout.manifest(&[]),
            ],
            "0 layers",
        ),
    ];
    for (manifests, reason) in cases {
        layout.index(&manifests);
        let error = refused(&store, &layout.path);
        assert_eq!(error.code(), Code::ArtifactInvalid, "{error}");
        assert!(
            error.to_string().contains(reason),
            "'{reason}' is not in: {error}"
        );
    }
    std::fs::remove_file(layout.path.join("oci-layout")).expect("it is there");
    assert!(
        refused(&store, &layout.path)
            .to_string()
            .contains("no file oci-layout")
    );
    refused(&store, &layout.path.join("absent"));
}

#[test]
fn damage_is_named_and_nothing_is_taken() {
    let (_dir, store) = store();
    let layout = Layout::new();
    let whole = layout.manifest(&[layout.layer(WASM, &wasm(1))]);
    layout.index(&[whole, layout.manifest(&[layout.layer(WASM, &wasm(2))])]);
    for entry in std::fs::read_dir(layout.path.join("blobs/sha256")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let good = std::fs::read(&path).expect("a blob");
        let mut bad = good.clone();
        bad[0] ^= 1;
        std::fs::write(&path, &bad).expect("writable");
        let error = refused(&store, &layout.path);
        assert_eq!(error.code(), Code::DigestMismatch, "{error}");
        assert!(
            error.to_string().contains(path.to_str().expect("UTF-8")),
            "{error}"
        );
        std::fs::remove_file(&path).expect("it is there");
        let error = refused(&store, &layout.path).to_string();
        assert!(error.contains("no file"), "{error}");
        std::fs::write(&path, &good).expect("writable");
    }
    assert_eq!(store.import(&layout.path).expect("whole again").len(), 2);
}

#[test]
fn an_export_comes_back_as_the_same_artifact_with_its_signatures() {
    let (dir, first) = store();
    let key = SigningKey::generate(Default::default()).expect("a key");
    let digest = put(&first, 1, Some("team/one"), &[]).digest;
    let oci_manifest = first.get(&digest).expect("it is there").oci_manifest;
    assert!(
        first
            .add_signature(&digest, &key.sign(&oci_manifest))
            .expect("it is taken")
    );
    assert!(
        !first
            .add_signature(&digest, &key.sign(&oci_manifest))
            .expect("it has it")
    );
    put(&first, 2, Some("two"), &[]);
    let export = dir.path().join("export");
    first.export(&digest, &export).expect("exported");
    first
        .export(&digest, &export)
        .expect_err("the directory is not empty");
    let (_dir, second) = store();
    let mut trust = TrustKeys::default();
    trust.add(key.trust_key().expect("its own public key"));
    let check = |artifact: &vyr_core::artifact::Artifact, wasm: &[u8]| {
        assert_eq!(wasm, crate::support::wasm(1));
        artifact.check_trust(&trust)
    };
    second
        .import_with(&export, check)
        .expect("a trust key signed it");
    assert_eq!(
        second.get(&digest).expect("it is there"),
        first.get(&digest).expect("it is there")
    );
    assert_eq!(second.list().expect("a list"), [digest]);
    // A signature of a stranger: the check refuses, so nothing of it is visible.
    let mut strangers = TrustKeys::default();
    let stranger = SigningKey::generate(Default::default()).expect("a key");
    strangers.add(stranger.trust_key().expect("its own public key"));
    let (_dir, third) = store();
    let error = third
        .import_with(&export, |artifact, _| artifact.check_trust(&strangers))
        .expect_err("not trusted");
    assert_eq!(error.code(), Code::ArtifactSignatureInvalid);
    assert!(third.list().expect("a list").is_empty());
}

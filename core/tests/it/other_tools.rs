//! Other tools read what VYR writes, and verify what it signs; and the reverse.

use vyr_core::artifact::{Algorithm, SigningKey, Store, TrustKey};

use crate::support::*;

#[test]
fn openssl_and_vyr_verify_each_other() {
    if !has("openssl") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (key, public, data, signature) = (
        path("key"),
        path("key.pub"),
        path("data"),
        path("signature"),
    );
    std::fs::write(&data, b"an OCI manifest").expect("writable");
    for (algorithm, name) in [
        (Algorithm::EcdsaP256, "ec"),
        (Algorithm::Ed25519, "ed25519"),
    ] {
        // VYR signs, openssl verifies.
        let own = SigningKey::generate(algorithm).expect("a key");
        std::fs::write(&public, own.public_pem().expect("PEM")).expect("writable");
        std::fs::write(&signature, own.sign(b"an OCI manifest")).expect("writable");
        let verify: &[&str] = match algorithm {
            Algorithm::EcdsaP256 => &[
                "dgst",
                "-sha256",
                "-verify",
                &public,
                "-signature",
                &signature,
                &data,
            ],
            Algorithm::Ed25519 => &[
                "pkeyutl", "-verify", "-pubin", "-inkey", &public, "-rawin", "-in", &data,
                "-sigfile", &signature,
            ],
        };
        run("openssl", verify);
        // openssl signs, VYR verifies.
        let generate: &[&str] = match algorithm {
            Algorithm::EcdsaP256 => &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &key,
            ],
            Algorithm::Ed25519 => &["genpkey", "-algorithm", "ed25519", "-out", &key],
        };
        run("openssl", generate);
        run(
            "openssl",
            &["pkey", "-in", &key, "-pubout", "-out", &public],
        );
        let sign: &[&str] = match algorithm {
            Algorithm::EcdsaP256 => &["dgst", "-sha256", "-sign", &key, "-out", &signature, &data],
            Algorithm::Ed25519 => &[
                "pkeyutl", "-sign", "-inkey", &key, "-rawin", "-in", &data, "-out", &signature,
            ],
        };
        run("openssl", sign);
        let read = |path: &str| std::fs::read_to_string(path).expect("PEM");
        let trust = TrustKey::from_pem(&read(&public)).expect("openssl's public key");
        let made = std::fs::read(&signature).expect("a signature");
        assert!(trust.verifies(b"an OCI manifest", &made), "{name}");
        assert!(!trust.verifies(b"another manifest", &made), "{name}");
        let theirs = SigningKey::from_pem(&read(&key)).expect("openssl's private key");
        assert!(trust.verifies(b"x", &theirs.sign(b"x")), "{name}");
    }
    run(
        "openssl",
        &["ecparam", "-name", "prime256v1", "-genkey", "-out", &key],
    );
    SigningKey::from_pem(&std::fs::read_to_string(&key).expect("PEM")).expect("the older form too");
}

#[test]
fn skopeo_and_umoci_read_store_and_export() {
    if !has("skopeo") || !has("umoci") {
        return;
    }
    let (dir, store) = store();
    let key = SigningKey::generate(Algorithm::Ed25519).expect("a key");
    let signature = key.sign(&prepare(&wasm(1)).oci_manifest);
    let digest = put(&store, 1, Some("one"), &[signature]).digest;
    put(&store, 2, Some("two"), &[]);
    let export = dir.path().join("export");
    store.export(&digest, &export).expect("exported");
    for layout in [dir.path().join("store"), export.clone()] {
        let layout = layout.to_str().expect("UTF-8");
        let raw = run(
            "skopeo",
            &["inspect", "--raw", &format!("oci:{layout}:one:latest")],
        );
        assert_eq!(
            vyr_core::digest::Digest::of(&raw),
            digest,
            "skopeo sees the artifact's own bytes"
        );
        let listed = run("umoci", &["ls", "--layout", layout]);
        assert!(String::from_utf8_lossy(&listed).contains("one:latest"));
    }
    // What skopeo copies is the same artifact.
    let copy = dir.path().join("copy");
    let from = format!("oci:{}:one:latest", export.to_str().expect("UTF-8"));
    let to = format!("oci:{}:one:latest", copy.to_str().expect("UTF-8"));
    run("skopeo", &["copy", &from, &to]);
    let fresh = Store::open(&dir.path().join("fresh")).expect("a new store");
    let arrivals = fresh.import(&copy).expect("a layout made by skopeo");
    assert_eq!((arrivals.len(), arrivals[0].digest), (1, digest));
    let artifact = fresh.get(&digest).expect("it is there");
    assert_eq!(fresh.wasm(&artifact).expect("it is whole"), wasm(1));
    fresh.import(&export).expect("a layout made by VYR");
    let artifact = fresh.get(&digest).expect("it is there");
    assert_eq!(artifact.signatures.len(), 1, "signatures travel");
    assert!(
        fresh.import(dir.path()).is_err(),
        "a directory that is no layout"
    );
}

//! The keys that VYR writes are keys to `openssl`, and base64 signatures (as `cosign` writes them)
//! are signatures to VYR, wherever they arrive.

use std::io::Write;
use std::process::{Command, Stdio};

use vyr_core::artifact::{Algorithm, SigningKey, TrustKey, TrustKeys};

use crate::support::*;

#[test]
fn openssl_signs_with_a_key_that_vyr_wrote() {
    if !has("openssl") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let path = |name: &str| {
            let path = dir.path().join(format!("{algorithm:?}-{name}"));
            path.to_str().expect("UTF-8").to_owned()
        };
        let (private, data, signature) = (path("key"), path("data"), path("signature"));
        let public = SigningKey::generate(algorithm)
            .and_then(|key| key.write_pair(private.as_ref()))
            .expect("a new pair");
        std::fs::write(&data, b"an OCI manifest").expect("writable");
        let sign: &[&str] = match algorithm {
            Algorithm::EcdsaP256 => &[
                "dgst", "-sha256", "-sign", &private, "-out", &signature, &data,
            ],
            Algorithm::Ed25519 => &[
                "pkeyutl", "-sign", "-inkey", &private, "-rawin", "-in", &data, "-out", &signature,
            ],
        };
        run("openssl", sign);
        let mut trust = TrustKeys::default();
        let pem = std::fs::read_to_string(public).expect("the public key");
        trust.add(TrustKey::from_pem(&pem).expect("its own PEM"));
        let binary = std::fs::read(&signature).expect("a signature");
        let text = base64(&binary);
        for signature in [&binary, &text] {
            trust
                .admit(b"an OCI manifest", [signature.as_slice()])
                .expect("it verifies");
            trust
                .admit(b"another manifest", [signature.as_slice()])
                .expect_err("other bytes");
        }
        // A store keeps one signature, whichever way it came.
        let (_dir, store) = store();
        let digest = put(&store, 1, None, &[binary, text]).digest;
        assert_eq!(store.get(&digest).expect("it is there").signatures.len(), 1);
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(["base64", "-A"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(bytes).expect("openssl reads");
    drop(input);
    child.wait_with_output().expect("it ends").stdout
}

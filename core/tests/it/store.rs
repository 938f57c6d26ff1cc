//! What a store promises its users.

use vyr_core::artifact::{Algorithm, SigningKey};
use vyr_core::artifact::{Error, Reference, Store, TrustKey, TrustKeys};
use vyr_core::digest::Digest;

use crate::support::*;

fn resolve(store: &Store, text: &str) -> Result<Digest, Error> {
    store.resolve(&text.parse::<Reference>().expect("a reference"))
}

#[test]
fn the_same_content_is_the_same_artifact() {
    let (_dir, store) = store();
    let first = put(&store, 1, Some("one"), &[]);
    let again = put(&store, 1, Some("uno"), &[]);
    assert!(first.created && !again.created);
    assert_eq!(first.digest, again.digest);
    let artifact = store.get(&first.digest).expect("it is there");
    assert_eq!(artifact.names, ["one:latest", "uno:latest"]);
    assert_eq!(store.wasm(&artifact).expect("it is whole"), wasm(1));
    assert_eq!(store.list().expect("a list"), [first.digest]);
}

#[test]
fn references_find_what_they_name() {
    let (_dir, store) = store();
    let digests: Vec<_> = (0..3)
        .map(|n| put(&store, n, Some(&format!("a{n}")), &[]).digest)
        .collect();
    assert_eq!(resolve(&store, "a1").expect("by name"), digests[1]);
    assert_eq!(
        resolve(&store, &digests[2].to_string()).expect("by digest"),
        digests[2]
    );
    assert_eq!(
        resolve(&store, &digests[0].hex()[..12]).expect("by prefix"),
        digests[0]
    );
    assert!(matches!(resolve(&store, "a9"), Err(Error::NotFound { .. })));
    assert!(matches!(
        resolve(&store, "a1:other"),
        Err(Error::NotFound { .. })
    ));
    put(&store, 2, Some("a1"), &[]);
    assert_eq!(resolve(&store, "a1").expect("the name moved"), digests[2]);
    assert!(store.get(&digests[1]).is_ok(), "what lost its name stays");
}

#[test]
fn names_are_untied_and_artifacts_removed() {
    let (dir, store) = store();
    let key = SigningKey::generate(Algorithm::EcdsaP256).expect("a key");
    let signature = key.sign(&prepare(&wasm(1)).oci_manifest);
    let kept = put(&store, 2, Some("kept"), &[]).digest;
    let digest = put(&store, 1, Some("one"), &[signature]).digest;
    put(&store, 1, Some("uno"), &[]);
    let remove = |text: &str| {
        store
            .remove(&text.parse().expect("a reference"))
            .expect("it is there")
    };
    assert_eq!(remove("one"), None);
    assert!(store.get(&digest).is_ok());
    assert_eq!(remove("uno"), Some(digest));
    assert!(matches!(store.get(&digest), Err(Error::NotFound { .. })));
    let artifact = store.get(&kept).expect("the other stays");
    assert!(store.wasm(&artifact).is_ok());
    let blobs = std::fs::read_dir(dir.path().join("store/blobs/sha256"))
        .expect("a directory")
        .count();
    assert_eq!(
        blobs, 4,
        "manifest, config, component and VYR manifest of the one that stays"
    );
}

#[test]
fn another_process_sees_changes_at_once() {
    let (dir, store) = store();
    let other = Store::open(&dir.path().join("store")).expect("the same store");
    for number in 0..20 {
        let digest = put(&store, number, Some("x"), &[]).digest;
        assert_eq!(resolve(&other, "x").expect("it is seen"), digest);
    }
}

#[test]
fn trust_keys_admit_only_their_signatures() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let (_dir, store) = store();
        let (key, stranger) = (
            SigningKey::generate(algorithm),
            SigningKey::generate(algorithm),
        );
        let (key, stranger) = (key.expect("a key"), stranger.expect("a key"));
        let mut keys = TrustKeys::default();
        assert!(
            keys.admit(b"anything", []).is_ok(),
            "without trust keys nothing is asked"
        );
        keys.add(TrustKey::from_pem(&key.public_pem().expect("PEM")).expect("a trust key"));
        let manifest = prepare(&wasm(1)).oci_manifest;
        let digest = put(&store, 1, None, &[stranger.sign(&manifest)]).digest;
        let check = || store.get(&digest).expect("it is there").check_trust(&keys);
        let error = check().expect_err("a stranger's signature").to_string();
        assert!(error.contains("none of its 1 signatures"), "{error}");
        put(&store, 1, None, &[key.sign(&manifest)]);
        check().expect("one good signature is enough");
        let unsigned = put(&store, 2, None, &[]).digest;
        let error = store
            .get(&unsigned)
            .expect("there")
            .check_trust(&keys)
            .expect_err("unsigned");
        assert!(error.to_string().contains("no signature"), "{error}");
    }
}

#[test]
fn a_key_pair_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("key.pem");
    let key = SigningKey::generate(Algorithm::EcdsaP256).expect("a key");
    key.write_pair(&path).expect("a new pair");
    assert!(key.write_pair(&path).is_err());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&path)
            .expect("the private key")
            .permissions(),
    );
    assert_eq!(mode & 0o077, 0, "the private key is its owner's alone");
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mount.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small file system cannot be mounted here (needs root)");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let store = Store::open(&dir.path().join("store")).expect("a new store");
        let small = put(&store, 1, Some("small"), &[]).digest;
        let big = vec![7; 1 << 20];
        let error = store
            .put(&prepare(&big), &big, None, &[])
            .expect_err("it does not fit");
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(store.list().expect("a list"), [small]);
        assert!(store.wasm(&store.get(&small).expect("there")).is_ok());
        put(&store, 2, None, &[]);
    });
    let unmounted = std::process::Command::new("umount")
        .arg(dir.path())
        .status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    outcome.expect("the store holds");
}

//! Artifact commands against a node.

use crate::support::*;

#[test]
fn artifacts_move_between_nodes_through_other_tools() {
    if !has("skopeo") {
        return;
    }
    let node = Node::with_artifact(&[], "hello.wasm", "team/hello:1.0");
    let digest = node.vyr(
        &["artifact", "inspect", "team/hello:1.0", "--output", "json"],
        b"",
    );
    let digest: serde_json::Value = serde_json::from_slice(&digest.stdout).expect("JSON");
    let digest = digest["digest"].as_str().expect("a digest").to_owned();
    let path = |name: &str| {
        node.dir
            .path()
            .join(name)
            .to_str()
            .expect("UTF-8")
            .to_owned()
    };
    let (layout, copy) = (path("layout"), path("copy"));
    let exported = node.vyr(&["artifact", "export", &digest, &layout], b"");
    assert!(exported.status.success(), "{}", stderr(&exported));
    let again = node.vyr(&["artifact", "export", &digest, &layout], b"");
    assert!(stderr(&again).contains("exists"), "{}", stderr(&again));
    let copied = std::process::Command::new("skopeo")
        .args([
            "copy",
            &format!("oci:{layout}:team/hello:1.0"),
            &format!("oci:{copy}:team/hello:1.0"),
        ])
        .output()
        .expect("skopeo runs");
    assert!(copied.status.success(), "{}", stderr(&copied));
    let other = Node::start(&[]);
    let imported = other.vyr(&["artifact", "import", &copy], b"");
    assert_eq!(stdout(&imported).trim(), digest, "{}", stderr(&imported));
    assert_eq!(
        other
            .request("GET", "/run/team%2Fhello:1.0/", &[], b"")
            .text(),
        "hello\n"
    );
    let nothing = other.vyr(
        &[
            "artifact",
            "import",
            other.dir.path().to_str().expect("UTF-8"),
        ],
        b"",
    );
    assert!(
        stderr(&nothing).contains("not an OCI image layout"),
        "{}",
        stderr(&nothing)
    );
}

#[test]
fn artifacts_are_listed_shown_and_removed_from_every_shard() {
    let node = Node::with_artifact(&[], "hello.wasm", "hello");
    let digest = node.put("probe.wasm", "probe");
    let listed = stdout(&node.vyr(&["artifact", "ls"], b""));
    assert!(
        listed.contains("hello:latest") && listed.contains("command,http"),
        "{listed}"
    );
    for _ in 0..6 {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            200
        );
    }
    let shown = stdout(&node.vyr(&["artifact", "inspect", &digest[..20]], b""));
    assert!(shown.contains("wasi:http/incoming-handler"), "{shown}");
    assert!(node.vyr(&["artifact", "rm", "probe"], b"").status.success());
    for _ in 0..8 {
        assert_eq!(
            node.request("GET", "/run/probe/hello", &[], b"").status,
            404,
            "gone from every shard"
        );
        assert_eq!(
            node.request("GET", &format!("/run/{digest}/hello"), &[], b"")
                .status,
            404
        );
    }
    let gone = node.vyr(&["artifact", "rm", "probe"], b"");
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        stderr(&gone).contains("artifact_not_found"),
        "{}",
        stderr(&gone)
    );
}

#[test]
fn openssl_signs_what_a_trusting_node_takes() {
    if !has("openssl") || !has("curl") {
        return;
    }
    let keys = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| keys.path().join(name).to_str().expect("UTF-8").to_owned();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let (key, public, manifest, signature) = (
        path("key"),
        path("pub"),
        path("manifest"),
        path("signature"),
    );
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &key,
    ]);
    openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
    let node = Node::start(&["--trust-key", &public]);
    let file = guest("hello.wasm");
    let dry = node.vyr(&["artifact", "put", &file, "--dry-run"], b"");
    std::fs::write(&manifest, &dry.stdout).expect("writable");
    openssl(&[
        "dgst", "-sha256", "-sign", &key, "-out", &signature, &manifest,
    ]);
    let put = node.vyr(
        &[
            "artifact",
            "put",
            &file,
            "--name",
            "hello",
            "--signature",
            &signature,
        ],
        b"",
    );
    assert!(put.status.success(), "{}", stderr(&put));
    let shown = stdout(&node.vyr(&["artifact", "inspect", "hello"], b""));
    assert!(shown.contains("by trust key"), "{shown}");
    assert_eq!(
        node.request("GET", "/run/hello/", &[], b"").text(),
        "hello\n"
    );
    let wrong = node.vyr(
        &[
            "artifact",
            "put",
            &guest("probe.wasm"),
            "--signature",
            &signature,
        ],
        b"",
    );
    assert!(
        stderr(&wrong).contains("artifact_signature_invalid"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_manifest_is_checked_and_kept() {
    let node = Node::start(&[]);
    let file = node.dir.path().join("vyr.toml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, "nane = \"x\"\n").expect("writable");
    let put = |path: &str| {
        node.vyr(
            &[
                "artifact",
                "put",
                &guest("probe.wasm"),
                "--name",
                "probe",
                "--manifest",
                path,
            ],
            b"",
        )
    };
    let refused = put(path);
    assert!(
        stderr(&refused).contains("manifest_invalid") && stderr(&refused).contains("nane"),
        "{}",
        stderr(&refused)
    );
    std::fs::write(&file, "[limits]\nwall_ms_max = 100\n").expect("writable");
    assert!(put(path).status.success());
    let output = node.vyr(
        &["task", "submit", "probe", "--wait", "--", "sleep", "60000"],
        b"",
    );
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
}

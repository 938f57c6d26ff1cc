//! Components that others' tools made.

use std::path::PathBuf;

use crate::support::*;

/// Where `scripts/foreign-guests` put them.
fn foreign(name: &str) -> Option<String> {
    let dir = std::env::var_os("VYR_FOREIGN_GUESTS").map(PathBuf::from);
    let file = dir.map(|dir| dir.join(name)).filter(|file| file.is_file());
    if file.is_none() {
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "{name} is not built"
        );
        eprintln!("skipped: {name} is not built; scripts/test-dependencies builds it");
    }
    Some(file?.to_str().expect("UTF-8").to_owned())
}

#[test]
fn python_and_javascript_components_run() {
    let node = Node::start(&["--shards", "1"]);
    if let Some(file) = foreign("python-command.wasm") {
        let output = run(&["run", &file, "one", "two"], b"shout\n");
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("one two") && text.contains("SHOUT"), "{text}");
    }
    for (name, language) in [
        ("python-http.wasm", "python"),
        ("javascript-http.wasm", "javascript"),
    ] {
        let Some(file) = foreign(name) else { continue };
        let put = node.vyr(&["artifact", "put", &file, "--name", language], b"");
        assert!(put.status.success(), "{name}: {}", stderr(&put));
        let answer = node.request("POST", &format!("/run/{language}/path?q=1"), &[], b"shout");
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("{language} answers POST"))
                && answer.text().contains("SHOUT"),
            "{}",
            answer.text()
        );
    }
}

//! The web page: what browsers rely on, and what keeps it harmless.

use crate::support::*;

#[test]
fn the_page_is_served_without_a_token_and_may_load_nothing_from_elsewhere() {
    let secrets = tempfile::tempdir().expect("a temporary directory");
    let file = secrets.path().join("token");
    std::fs::write(&file, "a-token-of-some-length\n").expect("writable");
    let node = Node::start(&["--token-file", file.to_str().expect("UTF-8")]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = node.request("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = answer.header("etag").expect("a tag");
        let known = format!("if-none-match: {tag}");
        assert_eq!(node.request("GET", path, &[&known], b"").status, 304);
    }
    assert_eq!(node.request("GET", "/page/none.js", &[], b"").status, 404);
    assert_eq!(node.request("POST", "/", &[], b"").status, 405);
    assert_eq!(node.request("GET", "/v0/node", &[], b"").status, 401);
}

#[test]
fn every_file_that_the_page_names_is_served() {
    let node = Node::start(&[]);
    let text = |path: &str| {
        let answer = node.request("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        String::from_utf8(answer.body).expect("UTF-8")
    };
    let mut wanted: Vec<String> = quoted_after(&text("/"), "=\"/page/");
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(name.clone()) {
            wanted.extend(quoted_after(&text(&format!("/page/{name}")), "from \"./"));
        }
    }
    for name in ["page.css", "main.js", "trace.js", "draw.js"] {
        assert!(seen.contains(name), "{name} is not named in {seen:?}");
    }
}

/// What stands between each `begin` and the next quotation mark.
fn quoted_after(text: &str, begin: &str) -> Vec<String> {
    let parts = text.split(begin).skip(1);
    parts
        .filter_map(|part| Some(part.split_once('"')?.0.to_owned()))
        .collect()
}

//! Manifests: what is read, what is refused and with which words, and that the stored form is one.

use proptest::prelude::*;

use super::*;

const FULL: &str = r#"
name = "collector"
version = "1.2.0"
description = "Collects.\nThen sends."
state = [{ name = "outbox" }, { name = "config", mode = "ro" }]

[limits]
wall_ms_max = 1000
output_bytes_max = 0

[capabilities]
outgoing_hosts = ["api.example.org:8443", "*.example.org"]
environment = ["MODE", "_LEVEL2"]

[instances]
policy = "reuse"
tasks_max = 100
idle_ms_max = 5000
"#;

#[test]
fn a_full_manifest_is_read_and_stored_canonically() {
    let manifest = Manifest::from_toml(FULL).expect("it is valid");
    assert_eq!(manifest.limits.wall_ms_max, Some(1000));
    assert_eq!(manifest.state[0].mode, Mode::Rw);
    let allows = |host, port| {
        let mut patterns = manifest.capabilities.host_patterns();
        patterns.any(|pattern| pattern.allows(host, port))
    };
    assert!(allows("api.example.org", 8443));
    assert!(!allows("example.org", 443));
    let json = manifest.to_canonical_json();
    let expected = concat!(
        r#"{"capabilities":{"environment":["MODE","_LEVEL2"],"#,
        r#""outgoing_hosts":["api.example.org:8443","*.example.org"]},"#,
        r#""description":"Collects.\nThen sends.","#,
        r#""instances":{"idle_ms_max":5000,"policy":"reuse","tasks_max":100},"#,
        r#""limits":{"output_bytes_max":0,"wall_ms_max":1000},"name":"collector","#,
        r#""state":[{"mode":"rw","name":"outbox"},{"mode":"ro","name":"config"}],"#,
        r#""version":"1.2.0"}"#
    );
    assert_eq!(String::from_utf8_lossy(&json), expected);
    assert_eq!(Manifest::from_json(&json).expect("its own form"), manifest);
}

#[test]
fn what_is_default_is_left_out() {
    assert_eq!(Manifest::default().to_canonical_json(), b"{}");
    let explicit = Manifest::from_toml("state = []\n[instances]\npolicy = 'fresh'\n[limits]\n");
    assert_eq!(explicit.expect("it is valid").to_canonical_json(), b"{}");
}

#[test]
fn limits_stand_over_the_default() {
    let manifest = Manifest::from_toml(FULL).expect("it is valid");
    let limits = manifest.limits.over(&TaskLimits::DEFAULT);
    assert_eq!(limits.wall_ms_max, 1000);
    assert_eq!(limits.output_bytes_max, 0);
    assert_eq!(
        limits.memory_bytes_max,
        TaskLimits::DEFAULT.memory_bytes_max
    );
}

#[test]
fn mistakes_in_toml_are_named_with_line_and_field() {
    let cases = [
        (
            "nam = 'x'",
            &["line 1", "unknown field `nam`", "`name`"][..],
        ),
        (
            "\n[limits]\nwall_ms = 1",
            &["line 3", "limits", "`wall_ms`", "`wall_ms_max`"],
        ),
        (
            "\n[limits]\nwall_ms_max = 'x'",
            &["line 3", "field limits.wall_ms_max", "expected u64"],
        ),
        (
            "[limits]\ncpu_ms_max = 0",
            &["line 2", "field limits.cpu_ms_max", "at least 1"],
        ),
        (
            "[limits]\ncpu_ms_max = -1",
            &["line 2", "field limits.cpu_ms_max"],
        ),
        ("name = 'Hello'", &["line 1", "field name", "lower-case"]),
        ("name = 1", &["line 1", "field name", "expected a string"]),
        ("version = ''", &["field version", "leave it out"]),
        (
            "[capabilities]\noutgoing_hosts = ['http://x']",
            &["line 2", "outgoing_hosts", "host:port"],
        ),
        (
            "[capabilities]\nenvironment = ['A=B']",
            &["environment", "'A=B'"],
        ),
        (
            "[capabilities]\nenvironment = ['A', 'A']",
            &["environment", "'A' stands twice"],
        ),
        (
            "state = [{ name = 'a', mode = 'wo' }]",
            &["line 1", "state[0].mode", "`rw`", "`ro`"],
        ),
        (
            "state = [{ name = 'a' }, { name = 'a' }]",
            &["'a' is declared twice"],
        ),
        (
            "state = [{ mode = 'ro' }]",
            &["state[0]", "missing field `name`"],
        ),
        ("state = [{ name = 'a:b' }]", &["state[0].name"]),
        ("[instances]\ntasks_max = 5", &["instances", "reuse"]),
        (
            "[instances]\npolicy = 'reuse'\ntasks_max = 0",
            &["instances", "at least 1"],
        ),
        (
            "[instances]\npolicy = 'pooled'",
            &["line 2", "instances.policy", "`fresh`"],
        ),
        ("name = 'x", &["line 1"]),
        ("name = 'x'\nname = 'y'", &["line 2", "duplicate key"]),
    ];
    for (text, needles) in cases {
        let error = Manifest::from_toml(text).expect_err(text);
        assert_eq!(error.code(), crate::problem::Code::ManifestInvalid);
        let message = error.to_string();
        assert!(!message.contains('\n'), "one line: {message}");
        for needle in needles {
            assert!(
                message.contains(needle),
                "{text}: '{needle}' is not in: {message}"
            );
        }
    }
}

#[test]
fn mistakes_in_json_are_named() {
    let cases: [(&[u8], &str); 7] = [
        (br#"{"limits":{"wall_ms_max":"x"}}"#, "limits.wall_ms_max"),
        (br#"{"naem":1}"#, "unknown field `naem`"),
        (br#"{"name":"a","name":"b"}"#, "duplicate field `name`"),
        (b"{} {}", "trailing"),
        (b"", "not a JSON object"),
        (b"{\"name\":\"\xff\"}", "name"),
        (b"[]", "not a JSON object"),
    ];
    for (bytes, needle) in cases {
        let message = Manifest::from_json(bytes)
            .map(drop)
            .map_err(|error| error.to_string());
        let message = message.expect_err(needle);
        assert!(message.contains(needle), "{needle}: {message}");
    }
}

#[test]
fn a_huge_manifest_is_refused_before_it_is_read() {
    let text = format!("# {}", "x".repeat(MANIFEST_BYTES_MAX));
    for error in [
        Manifest::from_toml(&text),
        Manifest::from_json(text.as_bytes()),
    ] {
        let message = error.expect_err("it is too large").to_string();
        assert!(message.contains("65536"), "{message}");
    }
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let depth = MANIFEST_BYTES_MAX / 2 - 10;
    let json = format!("{{\"state\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    Manifest::from_json(json.as_bytes()).expect_err("it is too deep");
    let toml = format!("state = {}{}", "[".repeat(depth), "]".repeat(depth));
    Manifest::from_toml(&toml).expect_err("it is too deep");
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let limit = || proptest::option::of(1u64..=i64::MAX as u64);
    let limits = (limit(), limit(), limit(), limit()).prop_map(|(wall, memory, output, state)| {
        ManifestLimits {
            wall_ms_max: wall,
            memory_bytes_max: memory,
            output_bytes_max: output,
            state_bytes_max: state,
            ..ManifestLimits::default()
        }
    });
    let states = proptest::collection::btree_map("[A-Za-z0-9._-]{1,12}", any::<bool>(), 0..4);
    let reuse = (
        proptest::option::of(1u32..),
        proptest::option::of(0..=i64::MAX as u64),
    )
        .prop_map(|(tasks_max, idle_ms_max)| Instances {
            policy: InstancePolicy::Reuse,
            tasks_max,
            idle_ms_max,
        });
    let instances = prop_oneof![Just(Instances::default()), reuse];
    let names = proptest::collection::btree_set("[A-Z_][A-Z0-9_]{0,9}", 0..4);
    let hosts =
        proptest::collection::btree_set("([*][.])?[a-z0-9]{1,9}[.]org(:[1-9][0-9]{0,3})?", 0..4);
    let texts = (
        proptest::option::of("[a-z0-9]{1,9}([._/-][a-z0-9]{1,9}){0,2}"),
        proptest::option::of("[^\\p{Cc}]{1,20}"),
        proptest::option::of("[^\\p{Cc}]{0,60}"),
    );
    (texts, limits, states, instances, names, hosts).prop_map(
        |((name, version, description), limits, states, instances, environment, hosts)| Manifest {
            name,
            version,
            description,
            limits,
            capabilities: Capabilities {
                outgoing_hosts: hosts.into_iter().collect(),
                environment: environment.into_iter().collect(),
            },
            state: states
                .into_iter()
                .map(|(name, read_only)| StateDeclaration {
                    name,
                    mode: if read_only { Mode::Ro } else { Mode::Rw },
                })
                .collect(),
            instances,
        },
    )
}

proptest! {
    #[test]
    fn every_manifest_survives_storing_and_writing(manifest in manifests()) {
        let json = manifest.to_canonical_json();
        prop_assert_eq!(&Manifest::from_json(&json).expect("its own form"), &manifest);
        let toml = toml::to_string(&manifest).expect("TOML can say it");
        let authored = Manifest::from_toml(&toml).expect("its own text");
        prop_assert_eq!(authored.to_canonical_json(), json);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::from_json(&bytes);
        let _ = Manifest::from_toml(&String::from_utf8_lossy(&bytes));
    }
}

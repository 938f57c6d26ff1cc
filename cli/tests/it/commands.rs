//! Commands without a node: usage, errors, `vyr run`, keys, doctor.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

const EXECUTORS: [&str; 2] = ["io_uring", "epoll"];

#[test]
fn wrong_use_ends_with_2_and_says_what_is_wrong() {
    for (arguments, hint) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["node", "--shards", "many"], "many"),
        (&["node", "--shards", "0"], "1 to"),
        (&["node", "--listen", "nowhere"], "nowhere"),
        (&["task", "ls", "--status", "asleep"], "asleep"),
        (&["run"], "FILE"),
        (&["run", "--timeout", "soon", "x.wasm"], "30s"),
        (&["run", "--env", "NOVALUE", "x.wasm"], "NAME=VALUE"),
        (
            &["key", "generate", "--algorithm", "rsa", "k"],
            "ecdsa-p256",
        ),
    ] {
        let output = run(arguments, b"");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(hint),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn failures_end_with_1_and_one_line_with_a_remedy() {
    for (arguments, hints) in [
        (
            &["task", "ls", "--node", "http://127.0.0.1:1"][..],
            &["127.0.0.1:1", "vyr node"][..],
        ),
        (
            &["task", "ls", "--node", "nonsense"],
            &["nonsense", "http://HOST:PORT"],
        ),
        (
            &["run", "/nonexistent.wasm"],
            &["/nonexistent.wasm", "No such file"],
        ),
        (
            &["artifact", "put", "/nonexistent.wasm"],
            &["/nonexistent.wasm"],
        ),
        (
            &["node", "--config", "/nonexistent.toml"],
            &["/nonexistent.toml"],
        ),
        (
            &[
                "node",
                "--listen",
                "0.0.0.0:0",
                "--data-dir",
                "/tmp/vyr-never",
            ],
            &["0.0.0.0", "--token-file"],
        ),
        (
            &[
                "node",
                "--trust-key",
                "/etc/hostname",
                "--data-dir",
                "/tmp/vyr-never",
            ],
            &["/etc/hostname", "public key"],
        ),
    ] {
        let output = run(arguments, b"");
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
        assert!(message.starts_with("error: "), "{arguments:?}: {message}");
        for hint in hints {
            assert!(message.contains(hint), "{arguments:?}: {message}");
        }
    }
}

#[test]
fn run_is_the_guests_own_streams_and_exit_code() {
    let probe = guest("probe.wasm");
    for executor in EXECUTORS {
        let run = |arguments: &[&str], input: &[u8]| {
            run(
                &[&["run", "--executor", executor, &probe], arguments].concat(),
                input,
            )
        };
        let output = run(&["upper"], b"through\n");
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(0), "THROUGH\n")
        );
        assert_eq!(stderr(&output), "");
        assert_eq!(run(&["exit", "42"], b"").status.code(), Some(42));
        let output = run(&["stderr", "careful"], b"");
        assert_eq!(stderr(&output).trim_end(), "careful");
        let output = run(&["trap"], b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("unreachable") && stderr(&output).contains("trap_inner"),
            "{}",
            stderr(&output)
        );
        let big = vec![b'z'; 8 << 20];
        assert!(run(&["echo"], &big).stdout == big);
    }
}

#[test]
fn run_ends_at_its_timeout_and_on_interrupt() {
    let probe = guest("probe.wasm");
    for executor in EXECUTORS {
        let output = run(
            &[
                "run",
                "--executor",
                executor,
                "--timeout",
                "200ms",
                &probe,
                "spin",
            ],
            b"",
        );
        assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("wall_time_exceeded"),
            "{}",
            stderr(&output)
        );
        let mut child = vyr(&["run", "--executor", executor, &probe, "sleep", "60000"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("vyr starts");
        std::thread::sleep(Duration::from_millis(1500));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        assert_eq!(child.wait().expect("a child").code(), Some(130));
    }
}

#[test]
fn run_refuses_what_it_cannot_run_and_says_why() {
    for (file, hints) in [
        (
            "invalid/unknown-import.wasm",
            ["example:missing/thing", "WASI 0.2"],
        ),
        (
            "invalid/wasi-0.3-import.wasm",
            ["wasi:clocks/monotonic-clock@0.3.0", "WASI 0.2"],
        ),
        ("invalid/no-world.wasm", ["exports", "wasi:cli/run@0.2"]),
        ("invalid/core-no-start.wasm", ["_start", "main function"]),
        (
            "invalid/core-env-import.wasm",
            ["env.foo", "wasi_snapshot_preview1"],
        ),
        ("SHA256SUMS", ["not WebAssembly", ".wasm"]),
    ] {
        let output = run(&["run", &guest(file)], b"");
        assert_eq!(output.status.code(), Some(1), "{file}");
        for hint in hints {
            assert!(
                stderr(&output).contains(hint),
                "{file}: {}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn every_command_explains_itself() {
    for command in [
        "",
        "demo",
        "run",
        "node",
        "key",
        "artifact",
        "artifact put",
        "task",
        "task submit",
        "doctor",
        "completions",
    ] {
        let mut arguments: Vec<_> = command.split(' ').filter(|word| !word.is_empty()).collect();
        arguments.push("--help");
        let output = run(&arguments, b"");
        assert!(output.status.success(), "{command}");
        assert!(
            stdout(&output).contains("Usage: vyr"),
            "{command}: {}",
            stdout(&output)
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell], b"")).contains("artifact"));
    }
}

#[test]
fn doctor_judges_every_line() {
    let output = run(&["doctor", "--output", "json"], b"");
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<_> = checks
        .as_array()
        .expect("a list")
        .iter()
        .map(|check| check["name"].as_str().expect("a name"))
        .collect();
    for name in [
        "kernel",
        "io_uring",
        "executor",
        "locked memory",
        "CPUs",
        "seccomp",
        "frequency governor",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    for check in checks.as_array().expect("a list") {
        assert_eq!(
            check["verdict"] != "ok",
            check["remedy"].is_string(),
            "{check}"
        );
    }
    assert!(output.status.success(), "{checks}");
    let output = run(&["doctor", "--data-dir", "/etc/hostname/nowhere"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("FAIL"), "{}", stdout(&output));
}

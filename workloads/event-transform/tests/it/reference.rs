//! Against `reference/reference.py` and what it made.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::{assert_same_lines, data, transform, workloads};

const CHUNK_BYTES: usize = 64 * 1024;
const FLIGHT_COUNT: usize = 166_158;

fn python(script: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("python3")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{} failed", script.display());
    output.stdout
}

fn reference(input: &[u8]) -> Vec<u8> {
    python(&workloads().join("event-transform/reference/reference.py"), &[], input)
}

fn flights(arguments: &[&str]) -> Vec<u8> {
    python(&workloads().join("../scripts/flights-ndjson"), arguments, b"")
}

#[test]
fn the_sample_gives_what_is_committed_and_what_the_reference_gives() {
    let sample = data("flights-sample.ndjson");
    let committed = data("flights-sample.expected.ndjson");
    assert_same_lines(&transform(&sample, CHUNK_BYTES), &committed);
    assert_same_lines(&reference(&sample), &committed);
}

#[test]
fn the_sample_is_what_the_script_makes() {
    assert_same_lines(&flights(&["--sample"]), &data("flights-sample.ndjson"));
}

#[test]
fn all_flights_give_the_digest_of_the_reference() {
    let input = flights(&[]);
    assert_eq!(input.iter().filter(|&&byte| byte == b'\n').count(), FLIGHT_COUNT);
    let digest = Sha256::digest(transform(&input, CHUNK_BYTES));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let committed = String::from_utf8(data("flights-2013h1.expected.sha256")).unwrap();
    assert_eq!(committed.split_whitespace().next(), Some(digest.as_str()));
}

#[test]
fn damaged_lines_get_the_same_reasons() {
    let script = workloads().join("event-transform/reference/mutate.py");
    let damaged = python(&script, &["2013", "20000"], &data("flights-sample.ndjson"));
    assert_same_lines(&transform(&damaged, CHUNK_BYTES), &reference(&damaged));
}

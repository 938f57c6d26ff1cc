//! What comes out, compared with the reference implementation byte for byte, and the forms of HTTP
//! bodies. Needs `python3` with a time zone database.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bodies;
mod reference;
mod streams;

use std::path::{Path, PathBuf};

use event_transform::Transformer;

fn workloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn data(name: &str) -> Vec<u8> {
    std::fs::read(workloads().join("data").join(name)).unwrap()
}

/// Transforms a stream that comes in chunks of this size.
fn transform(input: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| -> Result<(), std::convert::Infallible> {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let mut transformer = Transformer::new();
    for chunk in input.chunks(chunk_bytes) {
        transformer.push(chunk, &mut write).unwrap();
    }
    transformer.finish(&mut write).unwrap();
    out
}

/// Fails with the first line that differs, not with megabytes.
fn assert_same_lines(ours: &[u8], theirs: &[u8]) {
    let lines = |bytes: &[u8]| -> Vec<String> {
        bytes
            .split(|&byte| byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).into())
            .collect()
    };
    if ours != theirs {
        let (ours, theirs) = (lines(ours), lines(theirs));
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "line {}", number + 1);
        }
        panic!("{} lines against {}", ours.len(), theirs.len());
    }
}

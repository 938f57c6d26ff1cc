//! Nothing but itself holds the digest of `index.json`; damage to it is found all the same.

use vyr_core::artifact::{Error, Store};
use vyr_core::digest::Digest;

use crate::support::*;

/// What a user sees of a store: each artifact with its names and signatures.
fn view(dir: &std::path::Path) -> Result<Vec<(Digest, Vec<String>, usize)>, Error> {
    let store = Store::open(dir)?;
    let artifacts = store.list()?.into_iter().map(|digest| {
        let artifact = store.get(&digest)?;
        Ok((digest, artifact.names, artifact.signatures.len()))
    });
    artifacts.collect()
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_without_effect() {
    let (dir, store) = store();
    put(&store, 1, Some("one"), &[vec![1; 64]]);
    put(&store, 2, Some("two"), &[]);
    put(&store, 2, Some("also"), &[]);
    let dir = dir.path().join("store");
    let path = dir.join("index.json");
    let good = std::fs::read(&path).expect("the index");
    let whole = view(&dir).expect("it is whole");
    let mut named = 0;
    for position in 0..good.len() {
        for bit in [0, 5] {
            let mut bad = good.clone();
            bad[position] ^= 1 << bit;
            std::fs::write(&path, &bad).expect("writable");
            match view(&dir) {
                Ok(view) => assert_eq!(
                    view, whole,
                    "bit {bit} of byte {position} changed something"
                ),
                Err(error) => {
                    assert!(error.to_string().contains("index.json"), "{error}");
                    named += 1;
                }
            }
        }
    }
    assert!(
        named > good.len(),
        "{named} of {} flips were named",
        2 * good.len()
    );
    for bytes in [
        &b""[..],
        &good[..good.len() / 2],
        b"null",
        b"{}",
        &vec![b' '; 17 << 20],
    ] {
        std::fs::write(&path, bytes).expect("writable");
        view(&dir).expect_err("an index that is cut, empty or huge");
    }
    std::fs::remove_file(&path).expect("it is there");
    view(&dir).expect_err("a store without its index");
}

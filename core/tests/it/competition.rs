//! Puts and removals of the same content at the same time: no put loses a blob to a removal.

use vyr_core::artifact::{Error, Store};

use crate::support::*;

const ROUNDS: usize = 40;

#[test]
fn a_removal_takes_no_blob_from_a_put() {
    let (dir, _) = store();
    let dir = dir.path().join("store");
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let dir = &dir;
            scope.spawn(move || {
                // A store of its own, as another process has.
                let store = Store::open(dir).expect("the store opens");
                for round in 0..ROUNDS {
                    let digest = put(&store, round % 3, Some(name), &[]).digest;
                    match store.get(&digest) {
                        Ok(artifact) => match store.wasm(&artifact) {
                            Ok(bytes) => assert_eq!(bytes, wasm(round % 3)),
                            Err(error) => {
                                assert!(store.get(&digest).is_err(), "listed, yet {error}")
                            }
                        },
                        // The other thread removed it meanwhile.
                        Err(Error::NotFound { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if round % 2 == 1 {
                        match store.remove(&digest.into()) {
                            Ok(_) | Err(Error::NotFound { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                put(&store, 9, Some(name), &[]);
            });
        }
    });
    let store = Store::open(&dir).expect("the store opens");
    for digest in store.list().expect("a list") {
        store
            .wasm(&store.get(&digest).expect("whole"))
            .expect("whole");
    }
    let last = store
        .resolve(&"a".parse().expect("a name"))
        .expect("it was put last");
    assert_eq!(
        store.get(&last).expect("whole").names,
        ["a:latest", "b:latest"]
    );
    assert_eq!(
        std::fs::read_dir(dir.join(".tmp"))
            .expect("a directory")
            .count(),
        0,
        "no drafts stay"
    );
}

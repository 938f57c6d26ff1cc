//! What may stand where the store should be: links, pipes, other things, leftovers.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use vyr_core::artifact::{Error, Store};
use vyr_core::problem::Code;

use crate::support::*;

fn refusal(dir: &Path) -> String {
    let error = Store::open(dir).expect_err("it is no store");
    assert_eq!(error.code(), Code::StoreUnavailable);
    error.to_string()
}

#[test]
fn a_store_is_made_where_nothing_is_for_its_owner_only() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("a/b");
    let store = Store::open(&path).expect("parents are made");
    put(&store, 1, Some("one"), &[]);
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    for part in ["", "blobs", "blobs/sha256"] {
        assert_eq!(mode(&path.join(part)) & 0o777, 0o700, "{part}");
    }
    for part in ["index.json", "oci-layout", ".lock"] {
        assert_eq!(mode(&path.join(part)) & 0o777, 0o600, "{part}");
    }
}

#[test]
fn other_things_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").expect("writable");
    assert!(refusal(&file).contains("file"), "a file");
    assert!(
        refusal(&file.join("below")).contains("below"),
        "below a file"
    );
    symlink(dir.path().join("gone"), dir.path().join("dangling")).expect("a link");
    assert!(refusal(&dir.path().join("dangling")).contains("dangling"));
    let home = dir.path().join("home");
    std::fs::create_dir(&home).expect("a directory");
    std::fs::write(home.join("notes.txt"), b"x").expect("writable");
    assert!(
        refusal(&home).contains("'notes.txt'"),
        "a directory with other things in it"
    );
    assert_eq!(
        std::fs::read_dir(&home).expect("a directory").count(),
        2,
        "nothing but .lock is new"
    );
    let (newer, _) = store();
    let layout = newer.path().join("store/oci-layout");
    std::fs::write(layout, br#"{"imageLayoutVersion":"2.0.0"}"#).expect("writable");
    assert!(refusal(&newer.path().join("store")).contains("'2.0.0'"));
}

#[test]
fn a_link_to_a_store_is_followed_but_none_inside_it() {
    let (dir, store) = store();
    let digest = put(&store, 1, Some("one"), &[]).digest;
    let path = dir.path().join("store");
    let link = dir.path().join("link");
    symlink(&path, &link).expect("a link");
    Store::open(&link)
        .expect("operators link directories")
        .get(&digest)
        .expect("it is there");
    let blob = path.join("blobs/sha256").join(digest.hex());
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&blob, &elsewhere).expect("same file system");
    symlink(&elsewhere, &blob).expect("a link");
    let error = store
        .get(&digest)
        .expect_err("a linked blob, though its bytes are right");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    std::fs::remove_file(&blob).expect("the link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &blob,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    let error = store
        .get(&digest)
        .expect_err("a pipe must not be waited for")
        .to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let blobs = path.join("blobs");
    std::fs::rename(&blobs, dir.path().join("blobs")).expect("same file system");
    symlink(dir.path().join("blobs"), &blobs).expect("a link");
    assert!(refusal(&path).contains("not a link"));
}

#[test]
fn leftovers_of_the_dead_go_and_drafts_of_the_living_stay() {
    let (dir, store) = store();
    put(&store, 1, Some("one"), &[]);
    let path = dir.path().join("store");
    let (old, young) = (path.join(".tmp/1-old"), path.join(".tmp/2-young"));
    for file in [&old, &young] {
        std::fs::write(file, b"half").expect("writable");
    }
    let before = SystemTime::now() - Duration::from_secs(2 * 3600);
    let file = std::fs::File::options()
        .write(true)
        .open(&old)
        .expect("it is there");
    file.set_modified(before).expect("a time");
    Store::open(&path).expect("the store opens");
    assert!(!old.exists() && young.exists());
}

#[test]
fn what_a_dead_put_left_without_a_name_goes_with_the_next_removal() {
    let (dir, store) = store();
    put(&store, 1, Some("one"), &[]);
    put(&store, 2, Some("two"), &[]);
    let orphan = vyr_core::digest::Digest::of(b"orphan").hex();
    let orphan = dir.path().join("store/blobs/sha256").join(orphan);
    std::fs::write(&orphan, b"orphan").expect("writable");
    store
        .remove(&"one".parse().expect("a name"))
        .expect("it is there");
    assert!(!orphan.exists());
    let two = store
        .resolve(&"two".parse().expect("a name"))
        .expect("it stays");
    store.wasm(&store.get(&two).expect("whole")).expect("whole");
}

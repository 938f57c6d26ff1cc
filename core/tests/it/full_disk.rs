//! A disk that fills up at any step of a put: the put fails as a whole and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use vyr_core::artifact::Store;
use vyr_core::problem::Code;

use crate::support::*;

/// A page of a tmpfs, bytes; each small file takes one.
const PAGE_BYTES: usize = 4096;

/// A small file system of its own, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let arguments = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
        let mount = Command::new("mount")
            .args(arguments)
            .arg(dir.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        assert!(
            std::env::var_os("VYR_TEST_NO_SKIP").is_none(),
            "no file system can be mounted"
        );
        eprintln!("skipped: a small file system cannot be mounted here (it needs root)");
        None
    }

    /// Fills the disk but for this many pages.
    fn leave(&self, pages: usize) {
        let filler = self.0.path().join("filler");
        let _ = std::fs::remove_file(&filler);
        let free = rustix::fs::statvfs(self.0.path())
            .expect("a file system")
            .f_bfree;
        let free = usize::try_from(free).expect("it is small");
        std::fs::write(filler, vec![0; free.saturating_sub(pages) * PAGE_BYTES]).expect("it fits");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let parts = ["blobs/sha256", ".tmp"].map(|part| dir.join(part));
    let mut files: Vec<_> = parts
        .iter()
        .flat_map(|part| std::fs::read_dir(part).expect("a directory"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[test]
fn whichever_step_finds_the_disk_full_nothing_is_left_behind() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let dir = disk.0.path().join("store");
    let store = Store::open(&dir).expect("a new store");
    let first = put(&store, 1, Some("one"), &[]).digest;
    let before = (store.list().expect("a list"), files(&dir));
    let mut failed = 0;
    for pages in 0..12 {
        disk.leave(pages);
        let wasm = wasm(2);
        match store.put(&prepare(&wasm), &wasm, None, &[vec![1; 64]]) {
            Ok(put) => {
                disk.leave(20);
                store.get(&put.digest).expect("whole");
                store.remove(&put.digest.into()).expect("it is there");
            }
            Err(error) => {
                failed += 1;
                assert_eq!(error.code(), Code::StoreUnavailable);
                assert!(error.to_string().contains("free some space"), "{error}");
            }
        }
        assert_eq!(
            (store.list().expect("a list"), files(&dir)),
            before,
            "{pages} pages"
        );
        store
            .wasm(&store.get(&first).expect("whole"))
            .expect("whole");
    }
    assert!(
        (6..12).contains(&failed),
        "{failed} puts failed; some must, each at another step"
    );
}

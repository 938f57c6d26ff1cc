//! Removes blobs that nothing in the index leads to.

use std::collections::BTreeSet;
use std::fs;

use super::error::Error;
use super::index::Index;
use super::layout::Layout;
use super::read::{read_parts, read_signature_parts};
use crate::digest::Digest;

/// Removes unreferenced blobs, including those of puts that died before they were visible. The
/// store's lock must be held: blobs get their names only under it, so none is taken from a put.
///
/// What is referred to must be known completely; if any manifest cannot be read, nothing is removed
/// until that artifact is repaired or removed. A blob that cannot be removed stays for next time.
pub(crate) fn sweep(layout: &Layout, index: &Index) {
    let Ok(referenced) = referenced(layout, index) else {
        return;
    };
    let Ok(entries) = fs::read_dir(layout.blobs.dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let digest = entry
            .file_name()
            .to_str()
            .and_then(|hex| format!("sha256:{hex}").parse().ok());
        if digest.is_some_and(|digest: Digest| !referenced.contains(&digest)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn referenced(layout: &Layout, index: &Index) -> Result<BTreeSet<Digest>, Error> {
    // Nobody knows what a foreign descriptor leads to.
    if let Some(foreign) = index.others().first() {
        return Err(Error::unsupported(
            foreign.digest.to_string(),
            "it was not written by VYR",
        ));
    }
    let mut referenced = BTreeSet::new();
    for digest in index.digests() {
        referenced.insert(*digest);
        let (parts, _) = read_parts(&layout.blobs, digest)?;
        referenced.extend(parts.blobs().map(|(_, descriptor)| descriptor.digest));
        for signature in index.signatures_of(digest) {
            referenced.insert(*signature);
            let (parts, _) = read_signature_parts(&layout.blobs, signature)?;
            referenced.extend(parts.blobs().map(|(_, descriptor)| descriptor.digest));
        }
    }
    Ok(referenced)
}

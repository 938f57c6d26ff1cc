//! The artifact model: what an artifact is, who signed it, and where it is kept.
//!
//! An *artifact* is a Wasm file with its VYR [`Manifest`], stored as one OCI image manifest
//! (OCI image-spec 1.1). Its digest is the SHA-256 of that OCI manifest, so the digest covers
//! everything the artifact is; a signature is made over exactly those bytes. Names and signatures
//! are kept beside it and are no part of the digest.
//!
//! Invariants
//! - The digest is a function of the Wasm bytes, the VYR manifest and what is derived from the
//!   Wasm bytes. No name, time, host or order of calls enters it.
//! - A blob is checked against its digest whenever it is read; damage is named, never passed on.
//! - A store is changed only under its lock, and the index, replaced by one rename, is what makes
//!   an artifact visible: it is there wholly or not at all, whenever the process dies.
//! - No path is made of anything but a parsed digest, no symbolic link is followed inside a
//!   layout, and no read is larger than its bound, whatever a descriptor says.

mod assemble;
mod blob;
mod changes;
mod error;
mod host;
mod index;
mod json;
mod keys;
mod layout;
mod lock;
mod manifest;
mod name;
mod oci;
mod parts;
mod read;
mod reference;
mod signature;
mod store;
mod sweep;
mod transfer;

pub use assemble::{NewArtifact, Prepared};
pub use error::Error;
pub use host::{HostPattern, PermittedHost};
pub use index::Generation;
pub use keys::{Algorithm, SigningKey, TrustKey};
pub use manifest::{
    Capabilities, InstancePolicy, Instances, Manifest, ManifestLimits, StateDeclaration,
};
pub use name::{Name, Tag};
pub use read::{Artifact, StoredSignature};
pub use reference::Reference;
pub use signature::TrustKeys;
pub use store::{Put, Store};
pub use transfer::Arrival;

/// Largest Wasm file in an artifact, bytes.
pub const WASM_BYTES_MAX: u64 = 1 << 30;
/// Most signatures of one artifact.
pub const SIGNATURES_MAX: usize = 32;
/// Largest OCI image manifest that is read, bytes; VYR's own have about 1 KiB.
pub(crate) const OCI_MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// Largest config of an artifact, bytes; it lists the imports and exports.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Largest index of a store, bytes: about 60,000 artifacts.
pub(crate) const INDEX_BYTES_MAX: u64 = 16 << 20;
/// Most manifests of a layout that is imported.
pub(crate) const IMPORT_MANIFESTS_MAX: usize = 1024;

const _: () = {
    use crate::limits::{MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX};
    assert!(
        MANIFEST_BYTES_MAX as u64 <= WASM_BYTES_MAX,
        "the bound of the largest blob holds all"
    );
    assert!(SIGNATURE_BYTES_MAX < OCI_MANIFEST_BYTES_MAX as usize);
};

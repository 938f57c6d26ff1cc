//! The artifact model: what an artifact is, how it is named, signed and stored.

mod error;
mod files;
mod manifest;
mod name;
mod oci;
mod signature;
mod store;

pub use error::Error;
pub use manifest::{
    Capabilities, InstancePolicy, Instances, Manifest, ManifestLimits, StateDeclaration, StateMode,
};
pub use name::{Name, Reference, Tag};
pub use signature::{Algorithm, SigningKey, TrustKey, TrustKeys};
pub use store::{Artifact, Imported, NewArtifact, Prepared, Put, Store, StoredSignature};

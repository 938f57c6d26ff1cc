//! What can go wrong with artifacts.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::problem::Code;

/// An error of the artifact model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No artifact fits the reference.
    #[error("no artifact '{reference}' in this store; 'vyr artifact ls' lists what there is")]
    NotFound {
        /// The reference asked for.
        reference: String,
    },
    /// Several artifacts fit a digest prefix.
    #[error("'{reference}' fits several artifacts ({candidates}); give more digits")]
    Ambiguous {
        /// The prefix asked for.
        reference: String,
        /// The digests it fits.
        candidates: String,
    },
    /// A name, tag or reference is not well-formed.
    #[error("{0}")]
    NameInvalid(String),
    /// A manifest is not acceptable.
    #[error("the manifest: {0}")]
    ManifestInvalid(String),
    /// Stored bytes changed.
    #[error("{what} in {path} is damaged: expected {expected}, found {found}; put the artifact again", path = .path.display())]
    Corrupt {
        /// Which part of the artifact.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// What its digest should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A stored document is not understood.
    #[error("{what} in {path} is not understood: {reason}", path = .path.display())]
    Malformed {
        /// Which document.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The artifact is not the one that was expected.
    #[error("the artifact's digest is {found}, not {expected}; nothing was stored")]
    DigestMismatch {
        /// The expected digest.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// The artifact is not signed by a trust key.
    #[error("artifact {digest}: {reason}")]
    SignatureInvalid {
        /// The artifact.
        digest: Digest,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A key cannot be used.
    #[error("{0}")]
    KeyInvalid(String),
    /// A layout cannot be imported.
    #[error("the layout {path} cannot be imported: {reason}", path = .path.display())]
    ImportInvalid {
        /// The layout.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {what} {path}: {error}", path = .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::ArtifactNotFound,
            Self::Ambiguous { .. } => Code::ArtifactAmbiguous,
            Self::NameInvalid(_) | Self::KeyInvalid(_) => Code::RequestInvalid,
            Self::ManifestInvalid(_) => Code::ManifestInvalid,
            Self::Corrupt { .. } | Self::Malformed { .. } => Code::ArtifactCorrupt,
            Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::SignatureInvalid { .. } => Code::ArtifactSignatureInvalid,
            Self::ImportInvalid { .. } => Code::ArtifactInvalid,
            Self::Io { .. } => Code::StoreUnavailable,
        }
    }

    pub(super) fn io(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            error,
        }
    }
}

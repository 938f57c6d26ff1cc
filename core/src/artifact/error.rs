//! What can go wrong with artifacts, names, keys and the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::problem::Code;

/// An error of the artifact model. Each message is one line with the values and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A VYR manifest is malformed.
    #[error("the manifest is not valid: {reason}")]
    Manifest {
        /// Where (line, field) and what, with the remedy.
        reason: String,
    },
    /// A text is no name.
    #[error("'{text}' is not an artifact name: {reason}")]
    Name {
        /// The text, cut short.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text is no reference.
    #[error(
        "'{text}' is not an artifact reference: {reason}; give a digest, 8 or more of its first hex \
         digits, or NAME[:TAG]"
    )]
    Reference {
        /// The text, cut short.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing in the store fits a reference.
    #[error("no artifact '{reference}' in the store; 'vyr artifact ls' shows what is there")]
    NotFound {
        /// The reference.
        reference: String,
    },
    /// A digest prefix fits several artifacts.
    #[error("'{prefix}' fits {count} artifacts: {}; give more digits", list(.candidates, *.count))]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many fit.
        count: usize,
        /// The first of those that fit.
        candidates: Vec<Digest>,
    },
    /// Stored bytes do not have the digest they are stored under.
    #[error(
        "{what} in {} is damaged: expected {expected}, found {found}; put the artifact again to \
         repair it", .path.display()
    )]
    Corrupt {
        /// Which part of the artifact.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// The digest it should have.
        expected: String,
        /// The digest it has, or `no file`.
        found: String,
    },
    /// The artifact is not the one that was expected.
    #[error("the artifact's digest is {found}, not {expected}; nothing was stored")]
    DigestMismatch {
        /// The expected digest.
        expected: Digest,
        /// Its digest.
        found: Digest,
    },
    /// A layout that is imported holds bytes that do not have their digest.
    #[error(
        "{what} in the layout's {} is damaged: expected {expected}, found {found}; copy the layout \
         again", .path.display()
    )]
    LayoutDamaged {
        /// Which part of the artifact.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// The digest it should have.
        expected: String,
        /// The digest it has, or `no file`.
        found: String,
    },
    /// A directory is not a store, or its index is damaged.
    #[error("{}: {reason}", .path.display())]
    StoreInvalid {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// An artifact or a layout has a form that VYR does not take.
    #[error("{what}: {reason}")]
    Unsupported {
        /// Which artifact or layout.
        what: String,
        /// What it has, and what would do.
        reason: String,
    },
    /// Something is larger than its bound.
    #[error("{what} has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge {
        /// What it is.
        what: String,
        /// Its size, as far as it was counted.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A key cannot be used.
    #[error("the key cannot be used: {reason}")]
    Key {
        /// Why, and what to do.
        reason: String,
    },
    /// A signature is needed and there is none.
    #[error(
        "the artifact has no signature, and this node runs only artifacts signed with one of its \
         {trust_keys} trust key(s); put it with --sign-key or --signature"
    )]
    SignatureMissing {
        /// How many trust keys there are.
        trust_keys: usize,
    },
    /// No signature verifies with any trust key.
    #[error(
        "the artifact is not trusted: none of its {signatures} signatures verifies with a trust key \
         ({keys}); it was signed with another key, or for other bytes; sign this artifact with a trusted key"
    )]
    SignatureUntrusted {
        /// How many signatures there are.
        signatures: usize,
        /// The first digits of the trust keys' ids.
        keys: String,
    },
    /// Bytes are no signature.
    #[error(
        "the signature is malformed: {reason}; give an ECDSA P-256 signature in DER or an Ed25519 \
         signature of 64 bytes, as they are or in base64"
    )]
    SignatureMalformed {
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the store's lock.
    #[error("{} was held by another process for {waited_ms} ms; try again when it is done", .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for, milliseconds.
        waited_ms: u64,
    },
    /// A file could not be used.
    #[error("cannot {action} {}: {source}{}", .path.display(), remedy(.source))]
    Io {
        /// What was being done: a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Manifest { .. } => Code::ManifestInvalid,
            Self::Name { .. } | Self::Reference { .. } | Self::Key { .. } => Code::RequestInvalid,
            Self::NotFound { .. } => Code::ArtifactNotFound,
            Self::Ambiguous { .. } => Code::ArtifactAmbiguous,
            Self::Corrupt { .. } => Code::ArtifactCorrupt,
            Self::Unsupported { .. } => Code::ArtifactInvalid,
            Self::LayoutDamaged { .. } | Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::TooLarge { .. } => Code::RequestTooLarge,
            Self::SignatureMissing { .. }
            | Self::SignatureUntrusted { .. }
            | Self::SignatureMalformed { .. } => Code::ArtifactSignatureInvalid,
            Self::StoreInvalid { .. } | Self::Busy { .. } | Self::Io { .. } => {
                Code::StoreUnavailable
            }
        }
    }

    pub(crate) fn manifest(reason: impl Into<String>) -> Self {
        Self::Manifest {
            reason: reason.into(),
        }
    }

    pub(crate) fn key(reason: impl Into<String>) -> Self {
        Self::Key {
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn not_found(digest: &Digest) -> Self {
        Self::NotFound {
            reference: digest.to_string(),
        }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::StoreInvalid {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// Turns what the system says about `path` into an error; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A text for a message: at most 64 characters of what a client sent.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn list(candidates: &[Digest], count: usize) -> String {
    let mut text = candidates
        .iter()
        .map(Digest::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if candidates.len() < count {
        text.push_str(", …");
    }
    text
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there and try again, nothing was changed"
        }
        io::ErrorKind::PermissionDenied => "; let the user that runs VYR own it",
        io::ErrorKind::ReadOnlyFilesystem => "; the store can be read but not changed",
        io::ErrorKind::NotADirectory => "; a directory is needed there",
        _ => "",
    }
}

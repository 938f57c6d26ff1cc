//! The index of a store: which artifacts there are, their names and their signatures.
//!
//! On disk it is the layout's `index.json`, one descriptor per name of an artifact (or one without
//! a name) and one per signature. An annotation holds the digest of the rest, so that damage is
//! found although nothing else has the index's digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::Error;
use super::json::canonical;
use super::name::{Name, Tag, name_and_tag, ref_name};
use super::oci::{
    Annotations, Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, INDEX_DIGEST, ImageIndex, REF_NAME,
    SIGNATURE, SUBJECT,
};
use super::reference::Reference;
use crate::digest::Digest;

/// How many candidates an ambiguous prefix lists.
const CANDIDATES_MAX: usize = 8;

/// Tells one version of a store's index from another, for the price of one `stat`.
///
/// Equal values mean an unchanged index as long as the reader keeps the file open from which it
/// read (so that its inode is not given to another file), as [`super::Store`] does for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation {
    inode: u64,
    modified_ns: i128,
    bytes: u64,
}

impl Generation {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self {
            inode: metadata.ino(),
            modified_ns,
            bytes: metadata.len(),
        }
    }

    pub(crate) fn at(path: &Path) -> Result<Self, Error> {
        let metadata = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
        Ok(Self::of(&metadata))
    }

    pub(crate) fn of_file(file: &File, path: &Path) -> Result<Self, Error> {
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        Ok(Self::of(&metadata))
    }
}

/// What the index knows of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The size of its OCI manifest, bytes.
    size: u64,
    names: BTreeSet<String>,
    /// The OCI manifests of its signatures, with their sizes in bytes.
    signatures: BTreeMap<Digest, u64>,
}

/// A store's index in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    artifacts: BTreeMap<Digest, Record>,
    /// Turns names around; always in step with `artifacts`.
    names: BTreeMap<String, Digest>,
    /// Descriptors that VYR did not write and does not understand; they are kept.
    others: Vec<Descriptor>,
}

/// What a reference stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Artifact(Digest),
    Name(&'a str, Digest),
}

impl Target<'_> {
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Artifact(digest) | Self::Name(_, digest) => *digest,
        }
    }
}

impl Index {
    /// Reads `index.json`; `path` is for messages.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let damaged = |reason: String| {
            Error::invalid(
                path,
                format!(
                    "the index of the store is damaged ({reason}); restore it, or remove the store and put \
                     the artifacts again"
                ),
            )
        };
        let mut document: ImageIndex =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if document.schema_version != 2 {
            return Err(damaged(format!(
                "schemaVersion is {}, not 2",
                document.schema_version
            )));
        }
        // An index that another tool wrote has no digest; it is taken as it is.
        if let Some(expected) = document.annotations.remove(INDEX_DIGEST) {
            let found = Digest::of(&canonical(&document)).to_string();
            if found != expected {
                return Err(damaged(format!(
                    "its digest is {found}, it should be {expected}"
                )));
            }
        }
        Ok(Self::from_descriptors(document.manifests))
    }

    fn from_descriptors(descriptors: Vec<Descriptor>) -> Self {
        let mut index = Self::default();
        let (signatures, artifacts): (Vec<_>, Vec<_>) = descriptors
            .into_iter()
            .partition(|descriptor| descriptor.artifact_type.as_deref() == Some(SIGNATURE));
        for descriptor in artifacts {
            if descriptor.media_type == IMAGE_MANIFEST {
                let name = descriptor.annotations.get(REF_NAME);
                let name = name.and_then(|text| name_and_tag(text).ok());
                index.add(descriptor.digest, descriptor.size, name.as_ref());
            } else {
                index.others.push(descriptor);
            }
        }
        for descriptor in signatures {
            let subject = descriptor
                .annotations
                .get(SUBJECT)
                .and_then(|text| text.parse().ok());
            let record = subject.and_then(|subject: Digest| index.artifacts.get_mut(&subject));
            match record {
                Some(record) => {
                    record.signatures.insert(descriptor.digest, descriptor.size);
                }
                None => index.others.push(descriptor),
            }
        }
        index
    }

    /// The bytes of `index.json`: the same for the same content.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut document = ImageIndex {
            schema_version: 2,
            media_type: Some(IMAGE_INDEX.into()),
            manifests: self
                .artifacts
                .keys()
                .flat_map(|digest| self.descriptors(digest))
                .collect(),
            annotations: Annotations::new(),
        };
        document.manifests.extend(self.others.iter().cloned());
        let digest = Digest::of(&canonical(&document));
        document
            .annotations
            .insert(INDEX_DIGEST.into(), digest.to_string());
        canonical(&document)
    }

    /// The bytes of an index that lists one artifact, for other tools.
    pub(crate) fn render_export(&self, digest: &Digest) -> Vec<u8> {
        canonical(&ImageIndex {
            schema_version: 2,
            media_type: Some(IMAGE_INDEX.into()),
            manifests: self.descriptors(digest),
            annotations: Annotations::new(),
        })
    }

    /// The descriptors of one artifact and its signatures.
    fn descriptors(&self, digest: &Digest) -> Vec<Descriptor> {
        let Some(record) = self.artifacts.get(digest) else {
            return Vec::new();
        };
        let artifact = |name: Option<&String>| {
            let mut descriptor = Descriptor::new(IMAGE_MANIFEST, *digest, record.size);
            descriptor
                .annotations
                .extend(name.map(|name| (REF_NAME.into(), name.to_string())));
            descriptor
        };
        let mut descriptors: Vec<_> = if record.names.is_empty() {
            vec![artifact(None)]
        } else {
            record
                .names
                .iter()
                .map(|name| artifact(Some(name)))
                .collect()
        };
        for (signature, size) in &record.signatures {
            let mut descriptor = Descriptor::new(IMAGE_MANIFEST, *signature, *size);
            descriptor.artifact_type = Some(SIGNATURE.into());
            descriptor
                .annotations
                .insert(SUBJECT.into(), digest.to_string());
            descriptors.push(descriptor);
        }
        descriptors
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.artifacts.contains_key(digest)
    }

    pub(crate) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.artifacts.keys()
    }

    pub(crate) fn names_of(&self, digest: &Digest) -> Vec<String> {
        self.artifacts
            .get(digest)
            .map(|one| one.names.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn signatures_of(&self, digest: &Digest) -> impl Iterator<Item = &Digest> {
        self.artifacts
            .get(digest)
            .into_iter()
            .flat_map(|record| record.signatures.keys())
    }

    pub(crate) fn others(&self) -> &[Descriptor] {
        &self.others
    }

    /// What a reference stands for: a digest, the one digest with a prefix, or a name. A prefix
    /// that fits nothing may be a name.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Target<'_>, Error> {
        let not_found = || Error::NotFound {
            reference: reference.to_string(),
        };
        match reference {
            Reference::Digest(digest) => self
                .contains(digest)
                .then_some(Target::Artifact(*digest))
                .ok_or_else(not_found),
            Reference::Name(name, tag) => {
                self.find_name(&ref_name(name, tag)).ok_or_else(not_found)
            }
            Reference::Prefix(prefix) => {
                let digits = Reference::prefix_digits(prefix);
                let fitting = self.with_prefix(digits);
                match fitting[..] {
                    [digest] => Ok(Target::Artifact(digest)),
                    [] => {
                        let name = name_and_tag(prefix).ok();
                        name.and_then(|(name, tag)| self.find_name(&ref_name(&name, &tag)))
                            .ok_or_else(not_found)
                    }
                    _ => Err(Error::Ambiguous {
                        prefix: prefix.clone(),
                        count: fitting.len(),
                        candidates: fitting.into_iter().take(CANDIDATES_MAX).collect(),
                    }),
                }
            }
        }
    }

    fn find_name(&self, name: &str) -> Option<Target<'_>> {
        self.names
            .get_key_value(name)
            .map(|(name, digest)| Target::Name(name, *digest))
    }

    fn with_prefix(&self, digits: &str) -> Vec<Digest> {
        let lowest = format!("sha256:{digits:0<64}").parse::<Digest>();
        let Ok(lowest) = lowest else {
            return Vec::new();
        };
        let fitting = self.artifacts.range(lowest..).map(|(digest, _)| *digest);
        fitting
            .take_while(|digest| digest.hex().starts_with(digits))
            .collect()
    }

    /// Adds an artifact, or one more name of it. A name that another artifact has moves here.
    pub(crate) fn add(&mut self, digest: Digest, size: u64, name: Option<&(Name, Tag)>) {
        self.artifacts.entry(digest).or_insert_with(|| Record {
            size,
            names: BTreeSet::new(),
            signatures: BTreeMap::new(),
        });
        let Some(name) = name.map(|(name, tag)| ref_name(name, tag)) else {
            return;
        };
        if let Some(before) = self.names.insert(name.clone(), digest)
            && let Some(record) = self.artifacts.get_mut(&before)
        {
            record.names.remove(&name);
        }
        if let Some(record) = self.artifacts.get_mut(&digest) {
            record.names.insert(name);
        }
    }

    /// Adds a signature to an artifact; false if the artifact is not there.
    pub(crate) fn add_signature(&mut self, subject: &Digest, signature: Digest, size: u64) -> bool {
        let record = self.artifacts.get_mut(subject);
        record
            .map(|record| record.signatures.insert(signature, size))
            .is_some()
    }

    /// Unties a name; the artifact stays.
    pub(crate) fn untie(&mut self, name: &str) {
        if let Some(digest) = self.names.remove(name)
            && let Some(record) = self.artifacts.get_mut(&digest)
        {
            record.names.remove(name);
        }
    }

    /// Removes an artifact with its names and signatures.
    pub(crate) fn remove(&mut self, digest: &Digest) {
        for name in self
            .artifacts
            .remove(digest)
            .map(|record| record.names)
            .unwrap_or_default()
        {
            self.names.remove(&name);
        }
    }
}

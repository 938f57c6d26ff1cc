//! Export to, and import from, the OCI image layouts of other tools.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::blob::{BlobKind, Blobs, read_bounded};
use super::error::Error;
use super::layout::Layout;
use super::name::{Name, Tag, name_and_tag, ref_name};
use super::oci::{IMAGE_INDEX, IMAGE_MANIFEST, ImageIndex, REF_NAME, SIGNATURE};
use super::parts::parse;
use super::read::{Artifact, bytes_max, read_artifact, read_parts, read_signature_parts};
use super::store::{Staged, Store, check_signature_count};
use super::{IMPORT_MANIFESTS_MAX, INDEX_BYTES_MAX};
use crate::digest::Digest;

/// One artifact that [`Store::import`] brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The artifact.
    pub digest: Digest,
    /// The names it got; names that another artifact had have moved.
    pub names: Vec<(Name, Tag)>,
    /// False when the store had it already.
    pub created: bool,
}

/// What a layout's index leads to.
#[derive(Default)]
struct Contents {
    artifacts: BTreeMap<Digest, Found>,
}

#[derive(Default)]
struct Found {
    size: u64,
    names: BTreeSet<(Name, Tag)>,
    signatures: BTreeMap<Digest, u64>,
}

impl Store {
    /// Writes an artifact with its names and signatures as a layout to a new or empty directory, for
    /// other tools (`skopeo inspect oci:DIR:NAME:TAG`). Files have the rights that the process's
    /// umask gives. A layout that could not be finished has no
    /// file `oci-layout`, so nothing takes it for one.
    ///
    /// # Errors
    /// As [`Store::get`]; [`Error::StoreInvalid`] when the directory is not empty; [`Error::Io`].
    pub fn export(&self, digest: &Digest, dir: &Path) -> Result<(), Error> {
        let index = self.index()?;
        // Finds damage before anything is written.
        let artifact = self.get(digest)?;
        self.wasm(&artifact)?;
        let layout = Layout::create_export(dir)?;
        let copy =
            |digest: &Digest, bytes: &[u8]| layout.stage(bytes)?.place(&layout.blobs.path(digest));
        for_each_blob(
            &self.layout.blobs,
            digest,
            index.signatures_of(digest),
            copy,
        )?;
        layout.finish_export(&index.render_export(digest))
    }

    /// Brings in all artifacts of a layout with their names and signatures. Everything is read and
    /// verified before anything is visible. Layouts of other tools are taken if each artifact has
    /// one layer `application/wasm`; without a VYR manifest it gets the default one.
    ///
    /// # Errors
    /// [`Error::LayoutDamaged`] naming the damaged blob, [`Error::Unsupported`] for other forms.
    pub fn import(&self, dir: &Path) -> Result<Vec<Arrival>, Error> {
        self.import_with(dir, |_, _| Ok(()))
    }

    /// As [`Store::import`]; `check` sees each artifact with its Wasm file and may refuse the whole.
    ///
    /// # Errors
    /// As [`Store::import`], and what `check` says.
    pub fn import_with<E: From<Error>>(
        &self,
        dir: &Path,
        mut check: impl FnMut(&Artifact, &[u8]) -> Result<(), E>,
    ) -> Result<Vec<Arrival>, E> {
        let about_layout = |error| E::from(explain(error, dir));
        let layout = Layout::open_foreign(dir).map_err(about_layout)?;
        let contents = Contents::read(&layout, dir).map_err(about_layout)?;
        let mut staged: Vec<Staged<'static>> = Vec::new();
        for (digest, found) in &contents.artifacts {
            let names = found
                .names
                .iter()
                .map(|(name, tag)| ref_name(name, tag))
                .collect();
            let artifact = read_artifact(&layout.blobs, digest, names, found.signatures.keys())
                .map_err(about_layout)?;
            let wasm = layout
                .blobs
                .read(
                    BlobKind::Wasm,
                    &artifact.wasm_digest,
                    bytes_max(BlobKind::Wasm),
                )
                .map_err(about_layout)?;
            check(&artifact, &wasm)?;
            for_each_blob(
                &layout.blobs,
                digest,
                found.signatures.keys(),
                |digest, bytes| {
                    staged.push(self.stage_owned(*digest, bytes)?);
                    Ok(())
                },
            )
            .map_err(about_layout)?;
        }
        Ok(self.commit(staged, |index| {
            let mut imported = Vec::new();
            for (digest, found) in contents.artifacts {
                let created = !index.contains(&digest);
                index.add(digest, found.size, None);
                for name in &found.names {
                    index.add(digest, found.size, Some(name));
                }
                for (signature, size) in found.signatures {
                    index.add_signature(&digest, signature, size);
                }
                check_signature_count(index, &digest)?;
                let names = found.names.into_iter().collect();
                imported.push(Arrival {
                    digest,
                    names,
                    created,
                });
            }
            Ok(imported)
        })?)
    }
}

impl Contents {
    fn read(layout: &Layout, dir: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::unsupported(dir.display().to_string(), reason);
        let bytes = read_bounded(
            &layout.index_path(),
            INDEX_BYTES_MAX,
            "the index of the layout",
        )?;
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("its index.json is damaged: {error}")))?;
        if index.manifests.len() > IMPORT_MANIFESTS_MAX {
            let count = index.manifests.len();
            return Err(refuse(format!(
                "it lists {count} manifests, the bound is {IMPORT_MANIFESTS_MAX}"
            )));
        }
        let mut contents = Self::default();
        let mut signatures = Vec::new();
        for descriptor in index.manifests {
            match descriptor.media_type.as_str() {
                IMAGE_MANIFEST => {}
                IMAGE_INDEX => {
                    return Err(refuse(format!(
                        "{} is an index of several platforms; copy the one for wasm",
                        descriptor.digest
                    )));
                }
                other => {
                    let other: String = other.chars().take(128).collect();
                    return Err(refuse(format!(
                        "{} has the type '{other}', not {IMAGE_MANIFEST}",
                        descriptor.digest
                    )));
                }
            }
            let digest = descriptor.digest;
            let kind = BlobKind::OciManifest;
            let bytes = layout.blobs.read(kind, &digest, bytes_max(kind))?;
            let manifest = parse(&bytes, &digest)?;
            let size = bytes.len() as u64;
            match (&manifest.subject, &manifest.artifact_type) {
                (None, _) => {
                    let found = contents.artifacts.entry(digest).or_default();
                    found.size = size;
                    // A name that is none here (of a registry with a port, say) is left behind.
                    let name = descriptor.annotations.get(REF_NAME);
                    found
                        .names
                        .extend(name.and_then(|text| name_and_tag(text).ok()));
                }
                (Some(subject), Some(artifact_type)) if artifact_type == SIGNATURE => {
                    signatures.push((subject.digest, digest, size));
                }
                // Other things that refer to an artifact, such as a bill of materials.
                (Some(_), _) => {}
            }
        }
        if contents.artifacts.is_empty() {
            return Err(refuse("it has no artifact".into()));
        }
        for (subject, digest, size) in signatures {
            if let Some(found) = contents.artifacts.get_mut(&subject) {
                found.signatures.insert(digest, size);
            }
        }
        Ok(contents)
    }
}

/// Hands every blob of an artifact and its signatures over, verified.
fn for_each_blob<'a>(
    blobs: &Blobs,
    digest: &Digest,
    signatures: impl Iterator<Item = &'a Digest>,
    mut take: impl FnMut(&Digest, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (parts, bytes) = read_parts(blobs, digest)?;
    for (kind, descriptor) in parts.blobs() {
        take(
            &descriptor.digest,
            &blobs.read(kind, &descriptor.digest, bytes_max(kind))?,
        )?;
    }
    take(digest, &bytes)?;
    for signature in signatures {
        let (parts, bytes) = read_signature_parts(blobs, signature)?;
        for (kind, descriptor) in parts.blobs() {
            take(
                &descriptor.digest,
                &blobs.read(kind, &descriptor.digest, bytes_max(kind))?,
            )?;
        }
        take(signature, &bytes)?;
    }
    Ok(())
}

/// What is wrong with the layout is the fault of who gave it, not of the store.
fn explain(error: Error, dir: &Path) -> Error {
    match error {
        Error::Corrupt {
            what,
            path,
            expected,
            found,
        } => Error::LayoutDamaged {
            what,
            path,
            expected,
            found,
        },
        Error::StoreInvalid { path, reason } => {
            Error::unsupported(path.display().to_string(), reason)
        }
        Error::Io { path, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let reason = format!("it has no {}", path.display());
            Error::unsupported(dir.display().to_string(), reason)
        }
        other => other,
    }
}

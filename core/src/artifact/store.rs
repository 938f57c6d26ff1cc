//! The artifact store: an OCI image layout in a directory, shared by processes.
//!
//! An artifact is one OCI image manifest, whose digest is the artifact's. Signatures are manifests
//! of their own that refer to it (`subject`). `index.json` lists both, and names.
//!
//! Invariants: `index.json` changes only under the lock and only as a whole; a blob is written before
//! the index lists it and removed after; every blob is verified against its digest when it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use super::files::{self, Lock};
use super::manifest::Manifest;
use super::name::{Name, Reference, Tag};
use super::oci::{
    CONFIG_TYPE, Descriptor, EMPTY, EMPTY_TYPE, ImageManifest, Index, Interfaces, MANIFEST_TYPE,
    REF_NAME, SIGNATURE_TYPE, VYR_MANIFEST_TYPE, WASM_TYPE, WasmConfig,
};
use super::signature::{TrustKeys, normalise};
use crate::digest::Digest;
use crate::task::Kind;

/// Largest JSON document of a layout that is read, bytes.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Largest Wasm file that is read, bytes.
const WASM_BYTES_MAX: u64 = 1 << 30;
const LAYOUT_FILE: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An open artifact store. Its calls block on files.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    cached: Mutex<Option<(Generation, Arc<Index>)>>,
}

/// Changes whenever `index.json` is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation {
    inode: u64,
    modified_ns: i64,
    bytes: u64,
}

/// What an artifact is made of.
#[derive(Debug, Clone, Copy)]
pub struct NewArtifact<'a> {
    /// The component.
    pub wasm: &'a [u8],
    /// What its author declares.
    pub manifest: &'a Manifest,
    /// How it can be driven.
    pub kinds: &'a [Kind],
    /// The interfaces it imports.
    pub imports: &'a [String],
    /// The interfaces it exports.
    pub exports: &'a [String],
}

/// An artifact's documents before they are stored.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The artifact's digest.
    pub digest: Digest,
    /// The OCI manifest: what a signature is over.
    pub oci_manifest: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The artifact's digest.
    pub digest: Digest,
    /// False when it was there already.
    pub created: bool,
}

/// A stored signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignature {
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// A stored artifact.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its digest.
    pub digest: Digest,
    /// NAME:TAG of each of its names.
    pub names: Vec<String>,
    /// How it can be driven.
    pub kinds: Vec<Kind>,
    /// The component's digest.
    pub wasm_digest: Digest,
    /// The component's size.
    pub wasm_bytes: u64,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
    /// What its author declares.
    pub manifest: Manifest,
    /// The OCI manifest: what a signature is over.
    pub oci_manifest: Vec<u8>,
    /// Its signatures.
    pub signatures: Vec<StoredSignature>,
}

impl Prepared {
    /// Makes the documents; the same artifact gives the same bytes.
    ///
    /// # Panics
    /// Never: the documents are plain.
    #[must_use]
    pub fn new(artifact: &NewArtifact<'_>) -> Self {
        let wasm = Descriptor::of(WASM_TYPE, artifact.wasm);
        let manifest = artifact.manifest.to_canonical_json();
        let config = WasmConfig {
            architecture: "wasm".into(),
            os: "wasip2".into(),
            layer_digests: vec![wasm.digest],
            component: Some(Interfaces {
                exports: artifact.exports.to_vec(),
                imports: artifact.imports.to_vec(),
            }),
            kinds: artifact.kinds.to_vec(),
        };
        let config = serde_json::to_vec(&config).expect("a plain document");
        let oci_manifest = ImageManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.into(),
            artifact_type: None,
            config: Descriptor::of(CONFIG_TYPE, &config),
            layers: vec![wasm, Descriptor::of(VYR_MANIFEST_TYPE, &manifest)],
            subject: None,
        };
        let oci_manifest = serde_json::to_vec(&oci_manifest).expect("a plain document");
        Self {
            digest: Digest::of(&oci_manifest),
            oci_manifest,
            config,
            manifest,
        }
    }
}

impl Artifact {
    /// The bytes of its signatures.
    pub fn signature_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.signatures
            .iter()
            .map(|signature| signature.bytes.as_slice())
    }

    /// Whether it may run where these keys are trusted.
    ///
    /// # Errors
    /// As [`TrustKeys::admit`].
    pub fn check_trust(&self, keys: &TrustKeys) -> Result<(), Error> {
        keys.admit(&self.oci_manifest, self.signature_bytes())
    }
}

impl Store {
    /// Opens the store in `dir`, making it if needed.
    ///
    /// # Errors
    /// When the directory cannot be used, or holds something else.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let blobs = dir.join("blobs/sha256");
        files::make_dir(&blobs)?;
        let store = Self {
            dir: dir.to_owned(),
            cached: Mutex::new(None),
        };
        let _lock = store.lock()?;
        files::remove_drafts(dir);
        files::remove_drafts(&blobs);
        let layout = dir.join("oci-layout");
        match files::read(&layout, DOCUMENT_BYTES_MAX)? {
            None => files::write(&layout, LAYOUT_FILE.as_bytes())?,
            Some(bytes) => check_layout(&layout, &bytes)?,
        }
        if files::read(&store.index_path(), DOCUMENT_BYTES_MAX)?.is_none() {
            store.write_index(&Index::empty())?;
        }
        Ok(store)
    }

    /// Stores an artifact with its signatures, and ties a name to it. The same content again only
    /// adds what is new of names and signatures.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is visible.
    pub fn put(
        &self,
        prepared: &Prepared,
        wasm: &[u8],
        name: Option<&(Name, Tag)>,
        signatures: &[Vec<u8>],
    ) -> Result<Put, Error> {
        let signatures: Vec<_> = signatures
            .iter()
            .map(|bytes| normalise(bytes))
            .collect::<Result<_, _>>()?;
        for blob in [wasm, &prepared.config, &prepared.manifest] {
            self.write_blob(blob)?;
        }
        let _lock = self.lock()?;
        self.write_blob(&prepared.oci_manifest)?;
        // A removal may have taken a blob that was there before the lock was held.
        for blob in [wasm, &prepared.config, &prepared.manifest] {
            self.write_blob(blob)?;
        }
        let mut index = Index::clone(&*self.index()?);
        let created = !index
            .manifests
            .iter()
            .any(|entry| entry.digest == prepared.digest);
        let descriptor = Descriptor::of(MANIFEST_TYPE, &prepared.oci_manifest);
        if created {
            index.manifests.push(descriptor.clone());
        }
        for signature in &signatures {
            self.add_signature(&mut index, &descriptor, signature)?;
        }
        if let Some((name, tag)) = name {
            tie(&mut index, &descriptor, &format!("{name}:{tag}"));
        }
        self.write_index(&index)?;
        Ok(Put {
            digest: prepared.digest,
            created,
        })
    }

    /// The digest that a reference means now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn resolve(&self, reference: &Reference) -> Result<Digest, Error> {
        let index = self.index()?;
        let not_found = || Error::NotFound {
            reference: reference.to_string(),
        };
        let by_name = |name: &str| {
            index
                .manifests
                .iter()
                .find(|entry| entry.ref_name() == Some(name))
                .map(|entry| entry.digest)
        };
        match reference {
            Reference::Digest(digest) => {
                let known = index
                    .manifests
                    .iter()
                    .any(|entry| is_artifact(entry) && entry.digest == *digest);
                known.then_some(*digest).ok_or_else(not_found)
            }
            Reference::Name(name, tag) => by_name(&format!("{name}:{tag}")).ok_or_else(not_found),
            Reference::Prefix(digits) => {
                let fits = |entry: &&Descriptor| {
                    is_artifact(entry) && entry.digest.hex().starts_with(digits)
                };
                let found: BTreeSet<_> = index
                    .manifests
                    .iter()
                    .filter(fits)
                    .map(|entry| entry.digest)
                    .collect();
                match found.len() {
                    0 => by_name(&format!("{digits}:{}", Tag::default())).ok_or_else(not_found),
                    1 => found.first().copied().ok_or_else(not_found),
                    _ => Err(Error::Ambiguous {
                        reference: digits.clone(),
                        candidates: found
                            .iter()
                            .take(4)
                            .map(Digest::to_string)
                            .collect::<Vec<_>>()
                            .join(", "),
                    }),
                }
            }
        }
    }

    /// The digests of all artifacts, in order.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        let index = self.index()?;
        let digests: BTreeSet<_> = index
            .manifests
            .iter()
            .filter(|entry| is_artifact(entry))
            .map(|entry| entry.digest)
            .collect();
        Ok(digests.into_iter().collect())
    }

    /// An artifact, its documents verified against their digests.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn get(&self, digest: &Digest) -> Result<Artifact, Error> {
        let index = self.index()?;
        self.resolve(&Reference::Digest(*digest))?;
        let oci_manifest = self.blob(digest, "the OCI manifest", DOCUMENT_BYTES_MAX)?;
        let document: ImageManifest = self.parse("the OCI manifest", digest, &oci_manifest)?;
        let wasm = self.layer(digest, &document, WASM_TYPE)?;
        let manifest = match document
            .layers
            .iter()
            .find(|layer| layer.media_type == VYR_MANIFEST_TYPE)
        {
            Some(layer) => Manifest::from_json(&self.blob(
                &layer.digest,
                "the VYR manifest",
                DOCUMENT_BYTES_MAX,
            )?)?,
            None => Manifest::default(),
        };
        let config = self.blob(&document.config.digest, "the config", DOCUMENT_BYTES_MAX)?;
        let config: WasmConfig = self.parse("the config", &document.config.digest, &config)?;
        let interfaces = config.component.unwrap_or_default();
        let mut names: Vec<_> = index
            .manifests
            .iter()
            .filter(|entry| entry.digest == *digest)
            .filter_map(|entry| entry.ref_name().map(str::to_owned))
            .collect();
        names.sort();
        Ok(Artifact {
            digest: *digest,
            names,
            kinds: config.kinds,
            wasm_digest: wasm.digest,
            wasm_bytes: wasm.size,
            imports: interfaces.imports,
            exports: interfaces.exports,
            manifest,
            oci_manifest,
            signatures: self.signatures(&index, digest)?,
        })
    }

    /// An artifact's component, verified against its digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file changed or is gone.
    pub fn wasm(&self, artifact: &Artifact) -> Result<Vec<u8>, Error> {
        self.blob(&artifact.wasm_digest, "the component", WASM_BYTES_MAX)
    }

    /// Removes an artifact; a name is untied, and its artifact goes with the last name. Returns the
    /// digest of the artifact that is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`], or when the index cannot be written.
    pub fn remove(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        let _lock = self.lock()?;
        let digest = self.resolve(reference)?;
        let mut index = Index::clone(&*self.index()?);
        if let Reference::Name(name, tag) = reference {
            let name = format!("{name}:{tag}");
            let named = index
                .manifests
                .iter()
                .filter(|e| e.digest == digest && e.ref_name().is_some())
                .count();
            if named > 1 {
                index
                    .manifests
                    .retain(|entry| entry.ref_name() != Some(name.as_str()));
                self.write_index(&index)?;
                return Ok(None);
            }
        }
        let subject = digest.to_string();
        index
            .manifests
            .retain(|entry| entry.digest != digest && subject_of(entry) != Some(subject.as_str()));
        self.write_index(&index)?;
        self.collect_garbage(&index)?;
        Ok(Some(digest))
    }

    /// Writes a layout of its own with one artifact and its signatures into `dir`, which must not
    /// exist or be empty.
    ///
    /// # Errors
    /// When the artifact is damaged or the directory cannot be written.
    pub fn export(&self, digest: &Digest, dir: &Path) -> Result<(), Error> {
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            let error =
                std::io::Error::new(std::io::ErrorKind::DirectoryNotEmpty, "it is not empty");
            return Err(Error::io("export to", dir, error));
        }
        let index = self.index()?;
        self.resolve(&Reference::Digest(*digest))?;
        let subject = digest.to_string();
        let entries: Vec<_> = index
            .manifests
            .iter()
            .filter(|entry| entry.digest == *digest || subject_of(entry) == Some(subject.as_str()))
            .cloned()
            .collect();
        let target = Self::open(dir)?;
        for blob in self.reachable(&entries)? {
            target.write_blob(&self.blob(&blob, "a blob", WASM_BYTES_MAX)?)?;
        }
        target.write_index(&Index {
            manifests: entries,
            ..Index::empty()
        })
    }

    /// The artifacts of a layout that someone else may have made, everything verified: each as its
    /// component, its VYR manifest, its names and its signatures.
    ///
    /// # Errors
    /// [`Error::ImportInvalid`], [`Error::Corrupt`].
    pub fn read_layout(dir: &Path) -> Result<Vec<Imported>, Error> {
        let refuse = |reason: String| Error::ImportInvalid {
            path: dir.to_owned(),
            reason,
        };
        let layout = dir.join("oci-layout");
        let bytes = files::read(&layout, DOCUMENT_BYTES_MAX)?.ok_or_else(|| {
            refuse("it has no oci-layout file, so it is no OCI image layout".into())
        })?;
        check_layout(&layout, &bytes)?;
        let store = Self {
            dir: dir.to_owned(),
            cached: Mutex::new(None),
        };
        let index = store.index()?;
        let mut imported = BTreeMap::new();
        for entry in index.manifests.iter().filter(|entry| is_artifact(entry)) {
            let oci_manifest = store.blob(&entry.digest, "the OCI manifest", DOCUMENT_BYTES_MAX)?;
            let document: ImageManifest =
                store.parse("the OCI manifest", &entry.digest, &oci_manifest)?;
            if document.subject.is_some() {
                continue;
            }
            let wasm = document
                .layers
                .iter()
                .find(|layer| layer.media_type == WASM_TYPE)
                .ok_or_else(|| {
                    refuse(format!("{} has no layer of type {WASM_TYPE}", entry.digest))
                })?;
            let manifest = match document
                .layers
                .iter()
                .find(|layer| layer.media_type == VYR_MANIFEST_TYPE)
            {
                Some(layer) => Manifest::from_json(&store.blob(
                    &layer.digest,
                    "the VYR manifest",
                    DOCUMENT_BYTES_MAX,
                )?)?,
                None => Manifest::default(),
            };
            let item = imported.entry(entry.digest).or_insert(Imported {
                digest: entry.digest,
                wasm: store.blob(&wasm.digest, "the component", WASM_BYTES_MAX)?,
                manifest,
                names: Vec::new(),
                signatures: store
                    .signatures(&index, &entry.digest)?
                    .into_iter()
                    .map(|s| s.bytes)
                    .collect(),
            });
            if let Some(name) = entry.ref_name() {
                item.names.push(super::name::name_and_tag(name)?);
            }
        }
        if imported.is_empty() {
            return Err(refuse("it holds no artifact".into()));
        }
        Ok(imported.into_values().collect())
    }

    fn signatures(&self, index: &Index, digest: &Digest) -> Result<Vec<StoredSignature>, Error> {
        let subject = digest.to_string();
        let mut signatures = Vec::new();
        for entry in index
            .manifests
            .iter()
            .filter(|entry| subject_of(entry) == Some(subject.as_str()))
        {
            let bytes = self.blob(&entry.digest, "a signature's manifest", DOCUMENT_BYTES_MAX)?;
            let document: ImageManifest =
                self.parse("a signature's manifest", &entry.digest, &bytes)?;
            let layer = self.layer(&entry.digest, &document, SIGNATURE_TYPE)?;
            signatures.push(StoredSignature {
                bytes: self.blob(&layer.digest, "a signature", DOCUMENT_BYTES_MAX)?,
            });
        }
        Ok(signatures)
    }

    /// Adds a signature's blobs, and its manifest to the index unless it is there.
    fn add_signature(
        &self,
        index: &mut Index,
        subject: &Descriptor,
        signature: &[u8],
    ) -> Result<(), Error> {
        let document = ImageManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.into(),
            artifact_type: Some(SIGNATURE_TYPE.into()),
            config: Descriptor::of(EMPTY_TYPE, EMPTY),
            layers: vec![Descriptor::of(SIGNATURE_TYPE, signature)],
            subject: Some(Descriptor {
                annotations: BTreeMap::new(),
                ..subject.clone()
            }),
        };
        let bytes = serde_json::to_vec(&document).expect("a plain document");
        let mut descriptor = Descriptor::of(MANIFEST_TYPE, &bytes);
        descriptor.artifact_type = Some(SIGNATURE_TYPE.into());
        descriptor
            .annotations
            .insert(SUBJECT.into(), subject.digest.to_string());
        if index
            .manifests
            .iter()
            .any(|entry| entry.digest == descriptor.digest)
        {
            return Ok(());
        }
        for blob in [EMPTY, signature, &bytes] {
            self.write_blob(blob)?;
        }
        index.manifests.push(descriptor);
        Ok(())
    }

    fn layer<'a>(
        &self,
        digest: &Digest,
        document: &'a ImageManifest,
        media_type: &str,
    ) -> Result<&'a Descriptor, Error> {
        document
            .layers
            .iter()
            .find(|layer| layer.media_type == media_type)
            .ok_or_else(|| Error::Malformed {
                what: "the OCI manifest",
                path: self.blob_path(digest),
                reason: format!("it has no layer of type {media_type}"),
            })
    }

    fn parse<'a, T: serde::Deserialize<'a>>(
        &self,
        what: &'static str,
        digest: &Digest,
        bytes: &'a [u8],
    ) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::Malformed {
            what,
            path: self.blob_path(digest),
            reason: error.to_string(),
        })
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn lock(&self) -> Result<Lock, Error> {
        Lock::take(&self.dir.join(".lock"))
    }

    /// The index as it is now; read again only when the file was replaced.
    fn index(&self) -> Result<Arc<Index>, Error> {
        let path = self.index_path();
        let metadata = fs::metadata(&path).map_err(|error| Error::io("read", &path, error))?;
        let generation = Generation {
            inode: metadata.ino(),
            modified_ns: metadata
                .mtime()
                .wrapping_mul(1_000_000_000)
                .wrapping_add(metadata.mtime_nsec()),
            bytes: metadata.size(),
        };
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, index)) = &*cached
            && *of == generation
        {
            return Ok(Arc::clone(index));
        }
        let bytes = files::read(&path, DOCUMENT_BYTES_MAX)?.unwrap_or_default();
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| Error::Malformed {
            what: "the index",
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let index = Arc::new(index);
        *cached = Some((generation, Arc::clone(&index)));
        Ok(index)
    }

    fn write_index(&self, index: &Index) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(index).expect("a plain document");
        files::write(&self.index_path(), &bytes)?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Writes a blob unless it is there whole; a damaged one is replaced.
    fn write_blob(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.blob_path(&Digest::of(bytes));
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|stored| stored == bytes)
        {
            return Ok(());
        }
        files::write(&path, bytes)
    }

    fn blob(&self, digest: &Digest, what: &'static str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let path = self.blob_path(digest);
        let corrupt = |found: String| Error::Corrupt {
            what,
            path: path.clone(),
            expected: digest.to_string(),
            found,
        };
        let bytes = files::read(&path, bytes_max)?.ok_or_else(|| corrupt("no file".into()))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(corrupt(found.to_string()));
        }
        Ok(bytes)
    }

    /// The blobs that index entries need.
    fn reachable(&self, entries: &[Descriptor]) -> Result<BTreeSet<Digest>, Error> {
        let mut blobs = BTreeSet::new();
        for entry in entries {
            blobs.insert(entry.digest);
            let bytes = self.blob(&entry.digest, "a manifest", DOCUMENT_BYTES_MAX)?;
            let document: ImageManifest = self.parse("a manifest", &entry.digest, &bytes)?;
            blobs.insert(document.config.digest);
            blobs.extend(document.layers.iter().map(|layer| layer.digest));
        }
        Ok(blobs)
    }

    /// Removes the blobs that nothing needs any more. The lock is held, so no put is half done
    /// beyond what it writes again under the lock.
    fn collect_garbage(&self, index: &Index) -> Result<(), Error> {
        // When a manifest is damaged it is unknown what it needs: then everything stays.
        let Ok(needed) = self.reachable(&index.manifests) else {
            return Ok(());
        };
        let needed: BTreeSet<String> = needed.iter().map(Digest::hex).collect();
        let dir = self.dir.join("blobs/sha256");
        let entries = fs::read_dir(&dir).map_err(|error| Error::io("read", &dir, error))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == 64 && !needed.contains(&name) {
                // A blob that stays behind is found again by the next removal.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// An artifact read from a layout.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its digest in that layout.
    pub digest: Digest,
    /// Its component.
    pub wasm: Vec<u8>,
    /// What its author declares.
    pub manifest: Manifest,
    /// Its names.
    pub names: Vec<(Name, Tag)>,
    /// Its signatures.
    pub signatures: Vec<Vec<u8>>,
}

/// In the index, names the artifact that a signature's manifest is about.
const SUBJECT: &str = "org.vyr.signature.subject";

fn subject_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(SUBJECT).map(String::as_str)
}

fn is_artifact(entry: &Descriptor) -> bool {
    entry.media_type == MANIFEST_TYPE && subject_of(entry).is_none()
}

/// Ties a name to an artifact and from whatever had it before. The entry without a name stays, so
/// that an artifact outlives a name that moves on.
fn tie(index: &mut Index, descriptor: &Descriptor, name: &str) {
    index
        .manifests
        .retain(|entry| entry.ref_name() != Some(name));
    let mut named = descriptor.clone();
    named.annotations.insert(REF_NAME.into(), name.to_owned());
    index.manifests.push(named);
}

fn check_layout(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let malformed = |reason: String| Error::Malformed {
        what: "the layout",
        path: path.to_owned(),
        reason,
    };
    let document: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    match document
        .get("imageLayoutVersion")
        .and_then(serde_json::Value::as_str)
    {
        Some(version) if version.starts_with("1.") => Ok(()),
        other => Err(malformed(format!(
            "its version is {other:?}, VYR reads 1.x"
        ))),
    }
}

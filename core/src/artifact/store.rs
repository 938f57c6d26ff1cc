//! The store of artifacts: an OCI image layout that is changed under a lock and read without one.
//!
//! Blobs are written and flushed before the lock is taken; under it they get their names, and one
//! rename of the index makes the change visible. Files are for their owner only (0600, directories
//! 0700): artifacts may be confidential.

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::assemble::{Prepared, signature_manifest};
use super::blob::{BlobKind, Temporary, open_file, read_bounded_from, sync_dir};
use super::changes::Changes;
use super::error::Error;
use super::index::{Generation, Index, Target};
use super::layout::Layout;
use super::name::{Name, Tag};
use super::oci::EMPTY_JSON;
use super::read::{Artifact, read_artifact};
use super::reference::Reference;
use super::signature::normalise;
use super::sweep::sweep;
use super::{INDEX_BYTES_MAX, SIGNATURES_MAX, WASM_BYTES_MAX};
use crate::digest::Digest;

/// A store of artifacts. Any number of processes and threads may use one directory; calls block on
/// the disk and belong off an executor's thread.
#[derive(Debug)]
pub struct Store {
    pub(crate) layout: Layout,
    /// `None` when it could not be made: then every look at the index costs a `stat`.
    changes: Option<Changes>,
    cache: Mutex<Option<Cached>>,
}

/// How long a change by other tools than VYR may stay unseen by [`Store::resolve`].
const FOREIGN_CHANGE_TIME: Duration = Duration::from_millis(50);

/// The index as it was read last. The file stays open so that its inode is not given to a later
/// index, which might then look the same.
#[derive(Debug)]
struct Cached {
    generation: Generation,
    _file: File,
    index: Arc<Index>,
    /// The count of changes before the index was last found unchanged, and when that was.
    changes: u64,
    checked: Instant,
}

/// The result of [`Store::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The artifact.
    pub digest: Digest,
    /// False when the store had it already.
    pub created: bool,
}

/// A blob that is about to get its place.
pub(crate) struct Staged<'a> {
    digest: Digest,
    content: Content<'a>,
}

enum Content<'a> {
    Written(Temporary),
    /// The blob was in place when it was looked for; if it is not any more, these are its bytes.
    InPlace(&'a [u8]),
}

impl Store {
    /// Opens the store in `dir`. A new or empty directory becomes a store; what dead processes
    /// left half written for an hour is removed. A store that can only be read works for reading.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be made or read, [`Error::StoreInvalid`] when it
    /// holds something else.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let layout = Layout::open_store(dir)?;
        let store = Self {
            changes: Changes::open(&layout.changes_path()).ok(),
            layout,
            cache: Mutex::new(None),
        };
        store.index()?;
        Ok(store)
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.layout.root()
    }

    /// Stores an artifact with its signatures (binary or base64), and ties a name to it, which may
    /// move from another artifact. The same content again changes nothing but names and signatures,
    /// and repairs damaged blobs. When this returns the artifact is on the disk.
    ///
    /// # Errors
    /// [`Error::Manifest`] for a manifest that was made by code and is not valid,
    /// [`Error::DigestMismatch`] for another Wasm file than was prepared, [`Error::TooLarge`],
    /// [`Error::SignatureMalformed`]; [`Error::Io`] when it cannot be written, and then nothing has
    /// changed.
    pub fn put(
        &self,
        prepared: &Prepared,
        wasm: &[u8],
        name: Option<&(Name, Tag)>,
        signatures: &[Vec<u8>],
    ) -> Result<Put, Error> {
        prepared.check(wasm)?;
        let (digest, size) = (prepared.digest, prepared.oci_manifest.len() as u64);
        let signatures = SignatureBlobs::all(signatures, &digest, size)?;
        let mut staged = vec![
            self.stage(wasm)?,
            self.stage(&prepared.config)?,
            self.stage(&prepared.vyr_manifest)?,
            self.stage(&prepared.oci_manifest)?,
        ];
        self.stage_signatures(&signatures, &mut staged)?;
        self.commit(staged, |index| {
            let created = !index.contains(&digest);
            index.add(digest, size, name);
            add_signatures(index, &digest, &signatures)?;
            Ok(Put { digest, created })
        })
    }

    /// Adds a detached signature (binary or base64) to an artifact; false if it had it already. It
    /// is not verified: only the trust keys of the node that runs the artifact can do that.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::SignatureMalformed`], [`Error::Io`].
    pub fn add_signature(&self, digest: &Digest, signature: &[u8]) -> Result<bool, Error> {
        let size = self.get(digest)?.oci_manifest.len() as u64;
        let signatures = SignatureBlobs::all(&[signature], digest, size)?;
        let mut staged = Vec::new();
        self.stage_signatures(&signatures, &mut staged)?;
        self.commit(staged, |index| {
            let count = index.signatures_of(digest).count();
            add_signatures(index, digest, &signatures)?;
            Ok(index.signatures_of(digest).count() > count)
        })
    }

    /// The artifact with this digest; all but its Wasm file is read and verified.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] naming the damaged or missing blob.
    pub fn get(&self, digest: &Digest) -> Result<Artifact, Error> {
        let index = self.index()?;
        if !index.contains(digest) {
            return Err(Error::not_found(digest));
        }
        let artifact = read_artifact(
            &self.layout.blobs,
            digest,
            index.names_of(digest),
            index.signatures_of(digest),
        );
        match artifact {
            // It may have been removed since the index was read.
            Err(Error::Corrupt { .. }) if !self.index()?.contains(digest) => {
                Err(Error::not_found(digest))
            }
            other => other,
        }
    }

    /// The artifact's Wasm file, verified.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn wasm(&self, artifact: &Artifact) -> Result<Vec<u8>, Error> {
        self.layout
            .blobs
            .read(BlobKind::Wasm, &artifact.wasm_digest, WASM_BYTES_MAX)
    }

    /// The digest that a reference stands for now. What another tool than VYR changes in the store's
    /// directory is seen up to 50 ms later; otherwise this makes no system call
    /// while nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn resolve(&self, reference: &Reference) -> Result<Digest, Error> {
        let mut cache = self.lock_cache();
        if let (Some(cached), Some(changes)) = (&*cache, &self.changes)
            && cached.changes == changes.count()
            && cached.checked.elapsed() < FOREIGN_CHANGE_TIME
        {
            return Ok(cached.index.find(reference)?.digest());
        }
        let index = self.read_index(&mut cache)?;
        Ok(index.find(reference)?.digest())
    }

    /// The digests of all artifacts, in order. Reads the index only.
    ///
    /// # Errors
    /// [`Error::StoreInvalid`] when the index is damaged.
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.index()?.digests().copied().collect())
    }

    /// Removes as container tools do: a name is untied, and with its last name goes the artifact; a
    /// digest (or prefix) removes the artifact with all its names. Signatures go with it, and so do
    /// blobs that nothing refers to any more. Returns the artifact if it is gone, `None` if it keeps
    /// other names.
    ///
    /// # Errors
    /// As [`Store::resolve`]; [`Error::Io`] when the index cannot be written, and then nothing has
    /// changed.
    pub fn remove(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        let _lock = self.layout.lock()?;
        let before = self.index()?;
        let mut index = (*before).clone();
        let target = before.find(reference)?;
        let digest = target.digest();
        if let Target::Name(name, _) = &target {
            index.untie(name);
        }
        let is_gone = matches!(target, Target::Artifact(_)) || index.names_of(&digest).is_empty();
        if is_gone {
            index.remove(&digest);
        }
        let replaced = self.layout.write_index(&index.render());
        self.announce();
        replaced?;
        sweep(&self.layout, &index);
        Ok(is_gone.then_some(digest))
    }

    /// Tells whether the store has changed, by one `stat`.
    ///
    /// # Errors
    /// [`Error::Io`] when the index is not there.
    pub fn index_generation(&self) -> Result<Generation, Error> {
        Generation::at(&self.layout.index_path())
    }

    pub(crate) fn index(&self) -> Result<Arc<Index>, Error> {
        self.read_index(&mut self.lock_cache())
    }

    /// Tells the store's other users that the index has changed.
    fn announce(&self) {
        if let Some(changes) = &self.changes {
            changes.announce();
        }
    }

    fn lock_cache(&self) -> MutexGuard<'_, Option<Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_index(&self, cache: &mut Option<Cached>) -> Result<Arc<Index>, Error> {
        let path = self.layout.index_path();
        // Both before the look at the index, so that a change meanwhile is found by the next.
        let changes = self.changes.as_ref().map_or(0, Changes::count);
        let checked = Instant::now();
        let generation = Generation::at(&path)?;
        if let Some(cached) = cache
            && cached.generation == generation
        {
            (cached.changes, cached.checked) = (changes, checked);
            return Ok(Arc::clone(&cached.index));
        }
        let file = open_file(&path).map_err(Error::io("open", &path))?;
        let generation = Generation::of_file(&file, &path)?;
        let bytes = read_bounded_from(&file, &path, INDEX_BYTES_MAX, "the index of the store")?;
        let index = Arc::new(Index::parse(&bytes, &path)?);
        *cache = Some(Cached {
            generation,
            _file: file,
            index: Arc::clone(&index),
            changes,
            checked,
        });
        Ok(index)
    }

    /// Writes a blob unless it is in place and whole.
    fn stage<'a>(&self, bytes: &'a [u8]) -> Result<Staged<'a>, Error> {
        let digest = Digest::of(bytes);
        let content = if self.layout.blobs.is_whole(&digest) {
            Content::InPlace(bytes)
        } else {
            Content::Written(self.layout.stage(bytes)?)
        };
        Ok(Staged { digest, content })
    }

    /// Writes a blob whose bytes will not be kept in memory.
    pub(crate) fn stage_owned(
        &self,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Staged<'static>, Error> {
        Ok(Staged {
            digest,
            content: Content::Written(self.layout.stage(bytes)?),
        })
    }

    fn stage_signatures<'a>(
        &self,
        signatures: &'a [SignatureBlobs],
        staged: &mut Vec<Staged<'a>>,
    ) -> Result<(), Error> {
        for one in signatures {
            staged.push(self.stage(EMPTY_JSON)?);
            staged.push(self.stage(&one.signature)?);
            staged.push(self.stage(&one.manifest)?);
        }
        Ok(())
    }

    /// Gives blobs their names and makes a change of the index visible, or leaves all as it was.
    pub(crate) fn commit<T>(
        &self,
        staged: Vec<Staged<'_>>,
        edit: impl FnOnce(&mut Index) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _lock = self.layout.lock()?;
        let before = self.index()?;
        let mut index = (*before).clone();
        let value = edit(&mut index)?;
        let mut placed = Placed {
            layout: &self.layout,
            new: Vec::new(),
        };
        for blob in staged {
            placed.place(blob)?;
        }
        // Also for blobs that were there: whoever placed them may have died before this step.
        sync_dir(self.layout.blobs.dir())?;
        if index != *before {
            let bytes = index.render();
            if bytes.len() as u64 > INDEX_BYTES_MAX {
                return Err(Error::TooLarge {
                    what: "the index of the store".into(),
                    bytes: bytes.len() as u64,
                    bytes_max: INDEX_BYTES_MAX,
                });
            }
            let temporary = self.layout.stage(&bytes)?;
            placed.keep();
            let replaced = self.layout.place_index(temporary);
            self.announce();
            replaced?;
        } else {
            placed.keep();
        }
        Ok(value)
    }
}

/// The blobs that got their names; unless they are kept, the new ones are removed again.
struct Placed<'a> {
    layout: &'a Layout,
    new: Vec<Digest>,
}

impl Placed<'_> {
    fn place(&mut self, blob: Staged<'_>) -> Result<(), Error> {
        let path = self.layout.blobs.path(&blob.digest);
        let is_there = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
        let temporary = match blob.content {
            Content::InPlace(_) if is_there => return Ok(()),
            Content::InPlace(bytes) => self.layout.stage(bytes)?,
            Content::Written(temporary) => temporary,
        };
        temporary.place(&path)?;
        if !is_there {
            self.new.push(blob.digest);
        }
        Ok(())
    }

    fn keep(&mut self) {
        self.new.clear();
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        for digest in &self.new {
            // What stays is not listed, and goes with the next removal.
            let _ = fs::remove_file(self.layout.blobs.path(digest));
        }
    }
}

/// A signature and the OCI manifest that ties it to its artifact.
struct SignatureBlobs {
    signature: Vec<u8>,
    manifest: Vec<u8>,
}

impl SignatureBlobs {
    fn all(
        signatures: &[impl AsRef<[u8]>],
        subject: &Digest,
        subject_bytes: u64,
    ) -> Result<Vec<Self>, Error> {
        let one = |bytes: &[u8]| -> Result<Self, Error> {
            let signature = normalise(bytes)?;
            let manifest = signature_manifest(subject, subject_bytes, &signature);
            Ok(Self {
                signature,
                manifest,
            })
        };
        signatures.iter().map(|bytes| one(bytes.as_ref())).collect()
    }
}

fn add_signatures(
    index: &mut Index,
    digest: &Digest,
    signatures: &[SignatureBlobs],
) -> Result<(), Error> {
    for one in signatures {
        if !index.add_signature(digest, Digest::of(&one.manifest), one.manifest.len() as u64) {
            return Err(Error::not_found(digest));
        }
    }
    check_signature_count(index, digest)
}

pub(crate) fn check_signature_count(index: &Index, digest: &Digest) -> Result<(), Error> {
    let count = index.signatures_of(digest).count();
    if count > SIGNATURES_MAX {
        let reason = format!("it would have {count} signatures, the bound is {SIGNATURES_MAX}");
        return Err(Error::unsupported(digest.to_string(), reason));
    }
    Ok(())
}

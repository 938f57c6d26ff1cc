//! Blobs: files that are named by the digest of their bytes.
//!
//! A blob is written to a temporary file, flushed to the disk and renamed into its place, so a file
//! under a blob's name is always whole. It is checked against its digest whenever it is read.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::error::Error;
use crate::digest::Digest;

/// What is found in place of a missing blob.
const NO_FILE: &str = "no file";
/// Age from which a temporary file is taken for the leftover of a process that died. A write in
/// progress keeps its file young.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// What a blob is to an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BlobKind {
    /// The OCI image manifest, whose digest is the artifact's.
    OciManifest,
    /// The config.
    Config,
    /// The Wasm file.
    Wasm,
    /// VYR's manifest.
    VyrManifest,
    /// The OCI image manifest of a signature.
    SignatureManifest,
    /// A signature.
    Signature,
}

impl BlobKind {
    /// The words of messages.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::OciManifest => "the OCI manifest",
            Self::Config => "the config",
            Self::Wasm => "the component",
            Self::VyrManifest => "the VYR manifest",
            Self::SignatureManifest => "a signature's manifest",
            Self::Signature => "a signature",
        }
    }
}

/// Access rights of the files and directories that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// For the owner only: a store.
    Private,
    /// As the process's umask allows: an export.
    Shared,
}

impl Access {
    pub(crate) fn file_mode(self) -> Mode {
        Mode::from_raw_mode(if self == Self::Private { 0o600 } else { 0o644 })
    }

    pub(crate) fn dir_mode(self) -> u32 {
        if self == Self::Private { 0o700 } else { 0o755 }
    }
}

/// The directory of a layout's blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// The verified bytes of a blob of at most `bytes_max` bytes.
    pub(crate) fn read(
        &self,
        kind: BlobKind,
        digest: &Digest,
        bytes_max: u64,
    ) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let corrupt = |found: String| Error::Corrupt {
            what: kind.words(),
            path: path.clone(),
            expected: digest.to_string(),
            found,
        };
        let bytes = match read_bounded(&path, bytes_max, kind.words()) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(corrupt(NO_FILE.into()));
            }
            other => other?,
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(corrupt(found.to_string()));
        }
        Ok(bytes)
    }

    /// Whether the blob is there with the bytes it should have. What cannot be read counts as not
    /// there: it will be written anew.
    pub(crate) fn is_whole(&self, digest: &Digest) -> bool {
        open_file(&self.path(digest))
            .and_then(|mut file| Digest::of_reader(&mut file))
            .is_ok_and(|(found, _)| found == *digest)
    }
}

/// Opens a regular file; a symbolic link, a pipe or a device is an error.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok(file)
}

/// All bytes of a file, at most `bytes_max`.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64, what: &str) -> Result<Vec<u8>, Error> {
    let file = open_file(path).map_err(Error::io("open", path))?;
    read_bounded_from(&file, path, bytes_max, what)
}

/// All bytes of an open file, at most `bytes_max`.
pub(crate) fn read_bounded_from(
    file: &File,
    path: &Path,
    bytes_max: u64,
    what: &str,
) -> Result<Vec<u8>, Error> {
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let too_large = |bytes| Error::TooLarge {
        what: what.into(),
        bytes,
        bytes_max,
    };
    if size > bytes_max {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    // The file may grow while it is read.
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// A file that is written and flushed but does not have its name yet. It vanishes unless it is
/// given its place.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    placed: bool,
}

impl Temporary {
    /// Writes and flushes `bytes` to a new file in `dir`.
    pub(crate) fn write(dir: &Path, bytes: &[u8], access: Access) -> Result<Self, Error> {
        let (temporary, mut file) = Self::create(dir, access)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &temporary.path))?;
        Ok(temporary)
    }

    fn create(dir: &Path, access: Access) -> Result<(Self, File), Error> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| io::Error::other(error.to_string()))
            .map_err(Error::io("name a file in", dir))?;
        let name = format!("{}-{:016x}", std::process::id(), u64::from_le_bytes(random));
        let path = dir.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, access.file_mode())
            .map_err(|error| Error::io("create", &path)(error.into()))?;
        Ok((
            Self {
                path,
                placed: false,
            },
            File::from(file),
        ))
    }

    /// Gives the file its place; what was there is replaced in one step.
    pub(crate) fn place(mut self, path: &Path) -> Result<(), Error> {
        fs::rename(&self.path, path).map_err(Error::io("write", path))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // If that fails too, a later open takes it for a leftover.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("write", dir))
}

/// Removes temporary files that a process which died has left. What cannot be removed stays.
pub(crate) fn remove_leftovers(dir: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let is_old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| {
                now.duration_since(modified)
                    .is_ok_and(|age| age > LEFTOVER_AGE)
            });
        if is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

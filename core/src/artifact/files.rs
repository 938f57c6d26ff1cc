//! Files that are wholly there or not at all.
//!
//! A file is written under a temporary name in its own directory, synced, renamed, and the
//! directory synced, so that a crash at any moment leaves the old state or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::Error;

/// Begins the name of every temporary file.
const DRAFT_PREFIX: &str = ".draft-";
/// Age at which a temporary file's writer is taken for dead.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(3600);

/// Makes a directory for its owner only, if it is not there.
pub(super) fn make_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("make the directory", path, error))
}

/// Writes a file as a whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("."));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let draft = dir.join(format!("{DRAFT_PREFIX}{}-{number}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|error| {
        // What is left of the draft goes when the store is next opened, at the latest.
        let _ = fs::remove_file(&draft);
        Error::io("write", path, error)
    })
}

/// Reads a file of at most `bytes_max`; `None` when it is not there.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(bytes_max + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {bytes_max} bytes"),
            ));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Removes temporary files whose writer died.
pub(super) fn remove_drafts(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let is_draft = entry
            .file_name()
            .to_string_lossy()
            .starts_with(DRAFT_PREFIX);
        let is_old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| {
                SystemTime::now()
                    .duration_since(modified)
                    .is_ok_and(|age| age > DRAFT_AGE_MAX)
            });
        if is_draft && is_old {
            // Another process may have removed it first.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Holds a lock file against all other processes and threads; dropped, it lets go.
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file lets go")] File);

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock", path, error.into()))?;
        Ok(Self(file))
    }
}

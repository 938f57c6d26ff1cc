//! An OCI image layout on disk (OCI image-spec 1.1, "Image Layout Specification").
//!
//! ```text
//! oci-layout            the layout's version
//! index.json            which artifacts and signatures there are, and their names
//! blobs/sha256/<hex>    every blob
//! .lock  .changes  .tmp/ of VYR's store only: its lock, the count of its changes, files being written
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::blob::{Access, Blobs, Temporary, read_bounded, remove_leftovers, sync_dir};
use super::error::Error;
use super::index::Index;
use super::json::canonical;
use super::lock::Lock;
use super::oci::LayoutVersion;

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const BLOBS_DIR: &str = "blobs";
const ALGORITHM_DIR: &str = "sha256";
const LOCK_FILE: &str = ".lock";
const CHANGES_FILE: &str = ".changes";
const TEMPORARY_DIR: &str = ".tmp";
const VERSION_BYTES_MAX: u64 = 4096;

/// A layout's directory.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    pub(crate) blobs: Blobs,
    access: Access,
}

impl Layout {
    fn at(root: PathBuf, access: Access) -> Self {
        let blobs = Blobs::new(root.join(BLOBS_DIR).join(ALGORITHM_DIR));
        Self {
            root,
            blobs,
            access,
        }
    }

    /// Opens the store at `dir`, which is made if there is nothing or an empty directory.
    pub(crate) fn open_store(dir: &Path) -> Result<Self, Error> {
        create_dirs(dir, Access::Private)?;
        // The directory itself may be reached through a link; below it none is followed.
        let root = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let layout = Self::at(root, Access::Private);
        if !layout.exists(LAYOUT_FILE)? {
            let _lock = layout.lock()?;
            // Another process may have been faster.
            if !layout.exists(LAYOUT_FILE)? {
                layout.check_is_new()?;
                layout.create()?;
            }
        }
        layout.check()?;
        layout.clean();
        Ok(layout)
    }

    /// Opens a layout made by anyone, to read it.
    pub(crate) fn open_foreign(dir: &Path) -> Result<Self, Error> {
        let root = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let layout = Self::at(root, Access::Shared);
        if !layout.exists(LAYOUT_FILE)? {
            return Err(Error::Unsupported {
                what: dir.display().to_string(),
                reason:
                    "it has no file oci-layout; give the directory of an OCI image layout, as 'vyr \
                         artifact export' or 'skopeo copy … oci:DIR:TAG' make it"
                        .into(),
            });
        }
        layout.check()?;
        Ok(layout)
    }

    /// Makes a layout for other tools in a new or empty directory.
    pub(crate) fn create_export(dir: &Path) -> Result<Self, Error> {
        create_dirs(dir, Access::Shared)?;
        let root = fs::canonicalize(dir).map_err(Error::io("open", dir))?;
        let mut entries = fs::read_dir(&root).map_err(Error::io("read", dir))?;
        if entries.next().is_some() {
            return Err(Error::invalid(
                dir,
                "it is not empty; export to a new directory",
            ));
        }
        let layout = Self::at(root, Access::Shared);
        create_dirs(layout.blobs.dir(), Access::Shared)?;
        Ok(layout)
    }

    /// Ends an export: the index, then the file that makes it a layout.
    pub(crate) fn finish_export(&self, index: &[u8]) -> Result<(), Error> {
        Temporary::write(&self.root, index, self.access)?.place(&self.index_path())?;
        self.write_version(&self.root)?;
        sync_dir(self.blobs.dir())?;
        sync_dir(&self.root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.root.join(INDEX_FILE)
    }

    pub(crate) fn changes_path(&self) -> PathBuf {
        self.root.join(CHANGES_FILE)
    }

    /// Writes bytes to a file that is not visible yet.
    pub(crate) fn stage(&self, bytes: &[u8]) -> Result<Temporary, Error> {
        match self.access {
            Access::Private => Temporary::write(&self.root.join(TEMPORARY_DIR), bytes, self.access),
            Access::Shared => Temporary::write(&self.root, bytes, self.access),
        }
    }

    /// Waits for the store's lock.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Lock::wait(&self.root.join(LOCK_FILE))
    }

    /// Replaces the index in one step; whoever reads sees the old one or the new one.
    pub(crate) fn write_index(&self, index: &[u8]) -> Result<(), Error> {
        self.place_index(self.stage(index)?)
    }

    pub(crate) fn place_index(&self, index: Temporary) -> Result<(), Error> {
        index.place(&self.index_path())?;
        sync_dir(&self.root)
    }

    fn exists(&self, name: &str) -> Result<bool, Error> {
        let path = self.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Refuses a directory with other things in it. What a process that died while it made the
    /// store has left is fine.
    fn check_is_new(&self) -> Result<(), Error> {
        let ours = [
            LOCK_FILE,
            CHANGES_FILE,
            TEMPORARY_DIR,
            BLOBS_DIR,
            INDEX_FILE,
        ];
        for entry in fs::read_dir(&self.root).map_err(Error::io("read", &self.root))? {
            let name = entry.map_err(Error::io("read", &self.root))?.file_name();
            if !ours.iter().any(|known| name == *known) {
                let name = name.to_string_lossy();
                return Err(Error::invalid(
                    &self.root,
                    format!(
                        "it holds '{name}' and no oci-layout, so it is no artifact store; give an empty directory"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The layout's file comes last: without it the store is not made.
    fn create(&self) -> Result<(), Error> {
        let temporary_dir = self.root.join(TEMPORARY_DIR);
        create_dirs(self.blobs.dir(), self.access)?;
        create_dirs(&temporary_dir, self.access)?;
        if !self.exists(INDEX_FILE)? {
            self.write_index(&Index::default().render())?;
        }
        self.write_version(&temporary_dir)?;
        sync_dir(&self.root)
    }

    fn write_version(&self, temporary_dir: &Path) -> Result<(), Error> {
        let version = canonical(&LayoutVersion {
            image_layout_version: "1.0.0".into(),
        });
        Temporary::write(temporary_dir, &version, self.access)?.place(&self.root.join(LAYOUT_FILE))
    }

    fn check(&self) -> Result<(), Error> {
        let path = self.root.join(LAYOUT_FILE);
        let bytes = read_bounded(&path, VERSION_BYTES_MAX, LAYOUT_FILE)?;
        let version = serde_json::from_slice::<LayoutVersion>(&bytes)
            .map_err(|error| {
                Error::invalid(&path, format!("it is damaged or no layout's: {error}"))
            })?
            .image_layout_version;
        if !version.starts_with("1.") {
            let reason = format!("the layout has version '{version}', this VYR reads 1.x");
            return Err(Error::invalid(&path, reason));
        }
        for dir in [&self.root.join(BLOBS_DIR), self.blobs.dir()] {
            let metadata = fs::symlink_metadata(dir).map_err(Error::io("open", dir))?;
            if !metadata.is_dir() {
                return Err(Error::invalid(
                    dir,
                    "it must be a directory, not a link or a file",
                ));
            }
        }
        Ok(())
    }

    /// Removes leftovers if that is possible now; a store that can only be read works too.
    fn clean(&self) {
        if let Ok(Some(_lock)) = Lock::attempt(&self.root.join(LOCK_FILE)) {
            remove_leftovers(&self.root.join(TEMPORARY_DIR), SystemTime::now());
        }
    }
}

fn create_dirs(dir: &Path, access: Access) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(access.dir_mode())
        .create(dir)
        .map_err(Error::io("create the directory", dir))
}

//! A count of the changes of a store, in a page that all its users share: reading it costs no system
//! call.
//!
//! It only saves work. Who finds it unchanged may take the index to be unchanged as far as VYR
//! changes it; other tools do not count, and a writer that dies between the change and the count
//! does not either, so the index itself is looked at now and then.

#![expect(
    unsafe_code,
    reason = "memory that is shared with other processes is mapped by an unsafe call"
)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const BYTES: usize = size_of::<AtomicU64>();

/// The count of one store.
#[derive(Debug)]
pub(super) struct Changes {
    page: NonNull<AtomicU64>,
}

// SAFETY: it is a pointer to an atomic that stays mapped for as long as this exists.
unsafe impl Send for Changes {}
// SAFETY: as above; the atomic is made for being shared.
unsafe impl Sync for Changes {}

impl Changes {
    /// Opens the count, which is made if it is not there.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
        if file.metadata()?.len() < BYTES as u64 {
            // Written, not only made longer: a full disk must show here and not at the first count.
            file.write_all_at(&[0; BYTES], 0)?;
        }
        // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory of ours. The
        // file has the bytes that are used of it, and VYR never makes it shorter.
        let page = unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let page = NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { page })
    }

    /// Changes so far.
    pub(super) fn count(&self) -> u64 {
        self.atomic().load(Ordering::Acquire)
    }

    /// Counts a change that everybody can see by now.
    pub(super) fn announce(&self) {
        self.atomic().fetch_add(1, Ordering::Release);
    }

    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped, aligned, and used as this atomic only, by every process.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` and nobody has a reference into it any more.
        let unmapped = unsafe { munmap(self.page.as_ptr().cast(), BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_sees_a_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("changes");
        let (one, other) = (Changes::open(&path), Changes::open(&path));
        let (one, other) = (one.expect("open"), other.expect("open"));
        let before = other.count();
        one.announce();
        assert_eq!(other.count(), before + 1);
        drop((one, other));
        assert_eq!(Changes::open(&path).expect("open").count(), before + 1);
    }
}

//! The lock under which a store is changed: `flock` on a file, which the kernel releases when its
//! holder ends, however it ends.

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::error::Error;

/// Longest wait for the lock. It is held for some renames and flushes, so a holder that keeps it
/// this long is stopped or its disk does not answer.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL_PERIOD: Duration = Duration::from_millis(2);

/// Holds the lock until it is dropped. Threads exclude each other like processes do.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub(crate) fn wait(path: &Path) -> Result<Self, Error> {
        let start = Instant::now();
        loop {
            if let Some(lock) = Self::attempt(path)? {
                return Ok(lock);
            }
            if start.elapsed() > WAIT_MAX {
                let waited_ms = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::Busy {
                    path: path.to_owned(),
                    waited_ms,
                });
            }
            sleep(POLL_PERIOD);
        }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |action| move |error: Errno| Error::io(action, path)(error.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self {
                _file: File::from(file),
            })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(failed("lock")(error)),
        }
    }
}

//! Which backend to use, and why.

use std::fmt;
use std::fs::read_to_string;
use std::str::FromStr;

/// Locked memory that glommio insists on per process, whatever the kernel then charges for.
pub(super) const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// io_uring where the machine permits it, else epoll.
    #[default]
    Auto,
    /// io_uring, or an error.
    IoUring,
    /// epoll.
    Epoll,
}

impl fmt::Display for ExecutorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

impl FromStr for ExecutorChoice {
    type Err = RtError;

    fn from_str(text: &str) -> Result<Self, RtError> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            other => Err(RtError::UnknownChoice(other.to_owned())),
        }
    }
}

/// What drives an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutorKind {
    /// glommio, on io_uring.
    IoUring,
    /// A tokio current-thread runtime, on epoll.
    Epoll,
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The backend taken and the reason, in one line for a person.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The backend.
    pub kind: ExecutorKind,
    /// Why this one.
    pub reason: String,
}

/// Why an executor cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RtError {
    /// The name of an executor is not known.
    #[error("unknown executor {0:?}: use auto, io_uring or epoll")]
    UnknownChoice(String),
    /// The kernel was built without io_uring, or a seccomp profile hides it.
    #[error(
        "io_uring is not there (ENOSYS): this kernel is older than 5.8 or built without it, or a \
         seccomp profile hides it; use --executor epoll, or run with a profile that allows io_uring"
    )]
    IoUringMissing,
    /// The administrator turned io_uring off.
    #[error(
        "io_uring is turned off (sysctl kernel.io_uring_disabled = {0}): set it to 0, or use \
         --executor epoll"
    )]
    IoUringDisabled(String),
    /// io_uring is refused although it is not turned off.
    #[error(
        "io_uring is refused ({cause}): most likely the container's seccomp profile; run with a \
         profile that allows io_uring_setup, io_uring_enter and io_uring_register, or use \
         --executor epoll"
    )]
    IoUringRefused {
        /// The error of the kernel.
        cause: std::io::Error,
    },
    /// The limit of locked memory is too low.
    #[error(
        "the limit of locked memory is {limit_bytes} bytes and io_uring needs {needed_bytes}: raise \
         it (ulimit -l {}, LimitMEMLOCK= of systemd, --ulimit memlock= of a container), or use \
         --executor epoll",
        needed_bytes / 1024
    )]
    Memlock {
        /// The hard limit found.
        limit_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// Any other failure to start io_uring.
    #[error("io_uring cannot be used ({0}): use --executor epoll")]
    IoUring(String),
    /// The runtime or one of its threads could not be made.
    #[error("the executor cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The processor to pin to is not available.
    #[error("cannot pin to processor {cpu} ({cause}): it is offline or outside of the cpuset")]
    Pin {
        /// The processor asked for.
        cpu: usize,
        /// The error of the kernel.
        cause: std::io::Error,
    },
    /// An executor already runs on this thread.
    #[error("an executor already runs on this thread")]
    Nested,
}

/// Decides which backend to use; `Auto` falls back to epoll and says why.
///
/// io_uring is tried for real: an executor is started on a short-lived thread and has to wait for
/// a timer, so a profile that permits only part of the system calls is found out here.
pub fn decide(choice: ExecutorChoice) -> Result<Decision, RtError> {
    match choice {
        ExecutorChoice::Epoll => Ok(Decision {
            kind: ExecutorKind::Epoll,
            reason: "epoll: asked for".to_owned(),
        }),
        ExecutorChoice::IoUring => probe().map(|()| Decision {
            kind: ExecutorKind::IoUring,
            reason: "io_uring: asked for, and it works here".to_owned(),
        }),
        ExecutorChoice::Auto => Ok(match probe() {
            Ok(()) => Decision {
                kind: ExecutorKind::IoUring,
                reason: "io_uring: it works here".to_owned(),
            },
            Err(cause) => Decision {
                kind: ExecutorKind::Epoll,
                reason: format!("epoll: {cause}"),
            },
        }),
    }
}

fn probe() -> Result<(), RtError> {
    raise_memlock()?;
    let trial = std::thread::Builder::new()
        .name("io_uring probe".to_owned())
        .spawn(super::uring::trial)?;
    trial
        .join()
        .map_err(|_| RtError::IoUring("the trial executor failed while waiting".to_owned()))?
}

/// Raises the soft limit of locked memory as far as needed and permitted.
fn raise_memlock() -> Result<(), RtError> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Memlock);
    if limit.current.is_none_or(|bytes| bytes >= MEMLOCK_BYTES_MIN) {
        return Ok(());
    }
    if let Some(limit_bytes) = limit.maximum
        && limit_bytes < MEMLOCK_BYTES_MIN
    {
        return Err(RtError::Memlock {
            limit_bytes,
            needed_bytes: MEMLOCK_BYTES_MIN,
        });
    }
    limit.current = Some(MEMLOCK_BYTES_MIN);
    setrlimit(Resource::Memlock, limit).map_err(|cause| RtError::Start(cause.into()))
}

/// Names the cause of a failed start of io_uring.
pub(super) fn explain(cause: std::io::Error) -> RtError {
    use rustix::io::Errno;
    match errno(&cause) {
        Some(Errno::NOSYS) => RtError::IoUringMissing,
        Some(Errno::PERM | Errno::ACCESS) => {
            let disabled = read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            match disabled.trim() {
                "" | "0" => RtError::IoUringRefused { cause },
                value => RtError::IoUringDisabled(value.to_owned()),
            }
        }
        Some(Errno::NOMEM) => RtError::Memlock {
            limit_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock)
                .current
                .unwrap_or(u64::MAX),
            needed_bytes: 2 * MEMLOCK_BYTES_MIN,
        },
        _ => RtError::IoUring(cause.to_string()),
    }
}

/// The kernel's error behind `cause`. glommio hands it on as text only, in the form that the standard
/// library gives such errors.
fn errno(cause: &std::io::Error) -> Option<rustix::io::Errno> {
    rustix::io::Errno::from_io_error(cause).or_else(|| {
        let text = cause.to_string();
        let (_, number) = text.split_once("(os error ")?;
        let (number, _) = number.split_once(')')?;
        Some(rustix::io::Errno::from_raw_os_error(number.parse().ok()?))
    })
}

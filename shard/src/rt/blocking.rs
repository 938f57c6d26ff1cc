//! Work that blocks, and the threads it may block.

use super::decide::RtError;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads per executor for blocking work, ours and the guests'; more work waits its turn.
pub(super) const BLOCKING_THREADS_MAX: usize = 8;

/// An idle helper thread ends after this time.
pub(super) const BLOCKING_THREAD_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the end of an executor waits for blocking work to finish.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs `f` on a helper thread and waits for it.
///
/// The thread may run on every processor the process may use, not only the executor's. At most
/// eight of one executor run at once. Dropping the future does not stop `f`.
///
/// # Panics
/// With the panic of `f`; and outside of [`run`](super::run).
pub async fn unblock<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::current().spawn_blocking(f).await {
        Ok(value) => value,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => panic!("the executor ended while blocking work was waiting"),
        },
    }
}

/// The processors a thread may use, as found before pinning.
#[derive(Clone)]
pub(super) struct Affinity(Option<CpuSet>);

impl Affinity {
    pub(super) fn of_this_thread() -> Self {
        Self(sched_getaffinity(None).ok())
    }

    /// Gives the calling thread this affinity.
    pub(super) fn restore(&self) {
        if let Some(set) = &self.0 {
            // A cpuset that shrank meanwhile may refuse it; the thread then stays where it is.
            let _ = sched_setaffinity(None, set);
        }
    }
}

/// Pins the calling thread to one processor.
pub(super) fn pin(cpu: Option<usize>) -> Result<(), RtError> {
    let Some(cpu) = cpu else { return Ok(()) };
    if cpu >= CpuSet::MAX_CPU {
        let cause = std::io::Error::from(rustix::io::Errno::INVAL);
        return Err(RtError::Pin { cpu, cause });
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|cause| RtError::Pin {
        cpu,
        cause: cause.into(),
    })
}

/// A tokio runtime builder with our bounds on helper threads.
pub(super) fn tokio_builder(name: &str, affinity: &Affinity) -> Builder {
    let affinity = affinity.clone();
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .thread_name(format!("{name}-block"))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_KEEP_ALIVE)
        .on_thread_start(move || affinity.restore());
    builder
}

/// A task that the companion wakes at intervals.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<Mutex<Option<Waker>>>);

impl Bell {
    pub(super) fn attach(&self, waker: &Waker) {
        let mut attached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attached.is_none() {
            *attached = Some(waker.clone());
        }
    }

    pub(super) fn detach(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn ring(&self) {
        let attached = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = attached {
            waker.wake();
        }
    }
}

/// A tokio runtime on a thread of its own, for an executor that is not tokio's.
///
/// Code such as wasmtime-wasi takes timers, sockets and blocking threads from the tokio handle of
/// its thread. The companion sleeps in epoll until one of those is due or the bell is to be rung; it
/// does no request's work.
pub(super) struct Companion {
    handle: Handle,
    bell: Bell,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    pub(super) fn start(
        name: &str,
        affinity: &Affinity,
        bell_interval: Duration,
    ) -> Result<Self, RtError> {
        let bell = Bell::default();
        let ringing = bell.clone();
        let (stop, mut stopped) = oneshot::channel::<()>();
        let (send_handle, receive_handle) = mpsc::sync_channel(1);
        let mut builder = tokio_builder(name, affinity);
        let affinity = affinity.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-tokio"))
            .spawn(move || {
                affinity.restore();
                let runtime = match builder.build() {
                    Ok(runtime) => runtime,
                    Err(cause) => {
                        let _ = send_handle.send(Err(cause));
                        return;
                    }
                };
                let _ = send_handle.send(Ok(runtime.handle().clone()));
                runtime.block_on(async {
                    while tokio::time::timeout(bell_interval, &mut stopped)
                        .await
                        .is_err()
                    {
                        ringing.ring();
                    }
                });
                runtime.shutdown_timeout(SHUTDOWN_TIME_MAX);
            })?;
        let handle = receive_handle.recv().map_err(std::io::Error::other)??;
        Ok(Self {
            handle,
            bell,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the companion was already reported by its own thread.
            let _ = thread.join();
        }
    }
}

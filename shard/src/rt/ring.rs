//! A ring of our own beside glommio's: it tells which descriptors are ready.
//!
//! Every watched descriptor has one multishot poll on it, made once and taken back at the end. So a
//! request needs no entry of its own in the ring, and one system call collects the news of all
//! connections. glommio offers one-shot polls only, on a ring without
//! `IORING_SETUP_DEFER_TASKRUN`: there each request arms a poll, and each of its completions
//! interrupts the processor that the guests compute on.
//!
//! A multishot poll tells changes, like edge-triggered epoll: after a descriptor was reported it is
//! taken to be ready until an operation finds that it is not, and one whose other side is closed
//! stays ready.
//!
//! Invariants:
//! - Wakers are called, and dropped, outside of any borrow.
//! - A completion counts only for the watch it was asked for: slots are used again, `life` tells
//!   their users apart.

#![expect(unsafe_code, reason = "an entry of a ring is pushed by an unsafe call")]

use super::readiness::Direction;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

/// Entries that can be asked for between two looks; more are submitted at once.
const ENTRIES: u32 = 256;
/// Completions that wait for a look. More are kept by the kernel, and end the polls they are of.
const COMPLETIONS: u32 = 8192;
/// How often one look asks the kernel. It writes down some 20 completions at a time (Linux 6.13 and later); what is left
/// would wait in its socket, where nobody sees how long.
const ROUNDS_MAX: usize = 1024;
/// Marks the completions of entries that nobody waits for.
const NOBODY: u64 = u64::MAX;

const READABLE: PollFlags = PollFlags::IN.union(PollFlags::RDHUP);
/// Both sides are at their end.
const CLOSED: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

/// The ring of one executor.
pub(super) struct Ring {
    ring: RefCell<IoUring>,
    slots: RefCell<Slots>,
    /// Counts up when the ring has news while somebody [waits for them](Self::may_wait).
    bell: OwnedFd,
    /// The task that looks at the ring.
    driver: RefCell<Option<Waker>>,
    looks: Cell<u64>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    life: u32,
    fd: RawFd,
    sides: [Side; 2],
    /// The kernel refused to watch the descriptor.
    failed: Option<i32>,
}

/// What is known of one direction of a descriptor.
#[derive(Default)]
struct Side {
    ready: bool,
    /// Ready for ever: the other side is closed.
    closed: bool,
    wakers: Vec<Waker>,
}

/// A descriptor whose readiness the ring reports.
pub(super) struct Watched {
    fd: OwnedFd,
    ring: Rc<Ring>,
    key: Key,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    slot: u32,
    life: u32,
}

impl Key {
    fn user_data(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.slot)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the two halves apart"
    )]
    fn of(user_data: u64) -> Self {
        Self {
            slot: user_data as u32,
            life: (user_data >> 32) as u32,
        }
    }
}

impl Ring {
    /// # Errors
    /// The kernel's.
    pub(super) fn new() -> io::Result<Rc<Self>> {
        let builder = || {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(COMPLETIONS);
            builder
        };
        // Linux 6.1, 5.19 and older ones: without these flags completions interrupt.
        let ring = builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(ENTRIES)
            .or_else(|_| {
                builder()
                    .setup_coop_taskrun()
                    .setup_taskrun_flag()
                    .build(ENTRIES)
            })
            .or_else(|_| builder().build(ENTRIES))?;
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        Ok(Rc::new(Self {
            ring: RefCell::new(ring),
            bell,
            slots: RefCell::default(),
            driver: RefCell::default(),
            looks: Cell::new(0),
        }))
    }

    /// The descriptor that is readable when the ring has news for one who waits.
    pub(super) fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Whether nothing is left to look at; then the bell will tell of the next news. A look ends that.
    pub(super) fn may_wait(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        ring.completion().enable_eventfd();
        has_nothing_for_the_kernel(&mut ring) && ring.completion().is_empty()
    }

    /// Takes back that the bell was rung.
    pub(super) fn quieten(&self) {
        // It fails when the bell was not rung, which is as good.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    /// How often the ring was looked at.
    pub(super) fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// Names the task that is to look when there is something to submit.
    pub(super) fn set_driver(&self, waker: Option<&Waker>) {
        let old = self.driver.replace(waker.cloned());
        drop(old);
    }

    pub(super) fn wake_driver(&self) {
        let waker = self.driver.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Submits what was asked for and wakes whoever waited for what has happened. Tells whether
    /// anything has.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn look(&self) -> io::Result<bool> {
        self.looks.set(self.looks.get() + 1);
        let mut woken = Vec::new();
        let mut ended = Vec::new();
        // Whatever fails, who was found to be ready is woken.
        let mut looked = Ok(());
        let found = {
            let mut ring = self.ring.borrow_mut();
            ring.completion().disable_eventfd();
            let mut slots = self.slots.borrow_mut();
            let mut found = false;
            for _ in 0..ROUNDS_MAX {
                let asked = submit(&mut ring).unwrap_or_else(|error| {
                    looked = Err(error);
                    false
                });
                for completion in ring.completion() {
                    found = true;
                    let key = Key::of(completion.user_data());
                    if let Some(slot) = slots.current(key) {
                        slot.report(&completion, &mut woken);
                        if slot.failed.is_none() && !cqueue::more(completion.flags()) {
                            ended.push((key, slot.fd));
                        }
                    }
                }
                if !asked {
                    break;
                }
            }
            found
        };
        for (key, fd) in ended {
            looked = looked.and(self.poll_descriptor(key, fd));
        }
        woken.into_iter().for_each(Waker::wake);
        looked.map(|()| found)
    }

    fn watch(&self, fd: RawFd) -> io::Result<Key> {
        let key = self.slots.borrow_mut().add(fd);
        self.poll_descriptor(key, fd)?;
        Ok(key)
    }

    fn poll_descriptor(&self, key: Key, fd: RawFd) -> io::Result<()> {
        let events = u32::from((READABLE | PollFlags::OUT).bits());
        let poll = opcode::PollAdd::new(types::Fd(fd), events)
            .multi(true)
            .build()
            .user_data(key.user_data());
        self.ask(&poll)
    }

    fn forget(&self, key: Key) {
        let wakers = self.slots.borrow_mut().remove(key);
        drop(wakers);
        // Not `PollRemove`: that fails when the poll is just about to report.
        let cancel = opcode::AsyncCancel::new(key.user_data())
            .build()
            .user_data(NOBODY);
        if let Err(error) = self.ask(&cancel) {
            tracing::error!(%error, "a descriptor stays open: its poll could not be ended");
        }
    }

    fn ask(&self, entry: &squeue::Entry) -> io::Result<()> {
        {
            let mut ring = self.ring.borrow_mut();
            // SAFETY: a poll and its cancellation refer to no memory of ours.
            while unsafe { ring.submission().push(entry) }.is_err() {
                submit(&mut ring)?;
            }
        }
        self.wake_driver();
        Ok(())
    }
}

/// Whether nothing was asked for, and the kernel has nothing to write down.
fn has_nothing_for_the_kernel(ring: &mut IoUring) -> bool {
    let submission = ring.submission();
    submission.is_empty() && !submission.taskrun() && !submission.cq_overflow()
}

/// Submits what waits, and lets the kernel write down what has happened. Tells whether there was any of it.
fn submit(ring: &mut IoUring) -> io::Result<bool> {
    if has_nothing_for_the_kernel(ring) {
        return Ok(false);
    }
    match ring.submit() {
        Ok(_) => Ok(true),
        // Completions must be read first, or a signal came: the next time goes on.
        Err(error) => match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::INTR | rustix::io::Errno::BUSY | rustix::io::Errno::AGAIN) => {
                Ok(true)
            }
            _ => Err(error),
        },
    }
}

impl Slots {
    fn add(&mut self, fd: RawFd) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("there are fewer descriptors")
        });
        let entry = &mut self.slots[slot as usize];
        entry.fd = fd;
        // The first operation is tried; often it needs not wait.
        for side in &mut entry.sides {
            side.ready = true;
        }
        Key {
            slot,
            life: entry.life,
        }
    }

    fn remove(&mut self, key: Key) -> [Side; 2] {
        let slot = &mut self.slots[key.slot as usize];
        let old = std::mem::take(slot);
        // The last life of a slot is never used: it is the mark of entries without a waiter.
        slot.life = (old.life + 1) % (u32::MAX - 1);
        self.free.push(key.slot);
        old.sides
    }

    fn current(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        (slot.life == key.life).then_some(slot)
    }
}

impl Slot {
    fn report(&mut self, completion: &cqueue::Entry, woken: &mut Vec<Waker>) {
        let result = completion.result();
        if result < 0 {
            self.failed = Some(-result);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a poll's result is its 16 bits of events"
        )]
        let events = PollFlags::from_bits_retain(result as u16);
        let failed = self.failed.is_some() || events.intersects(CLOSED);
        let [read, write] = &mut self.sides;
        read.closed |= failed || events.contains(PollFlags::RDHUP);
        write.closed |= failed;
        if read.closed || events.intersects(READABLE) {
            read.set_ready(woken);
        }
        if write.closed || events.contains(PollFlags::OUT) {
            write.set_ready(woken);
        }
    }
}

impl Side {
    fn set_ready(&mut self, woken: &mut Vec<Waker>) {
        self.ready = true;
        woken.append(&mut self.wakers);
    }
}

impl Watched {
    pub(super) fn new(ring: &Rc<Ring>, fd: OwnedFd) -> io::Result<Self> {
        let key = ring.watch(fd.as_raw_fd())?;
        let ring = Rc::clone(ring);
        Ok(Self { fd, ring, key })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Waits until an operation may be tried; any number of tasks may wait.
    pub(super) fn poll_ready(
        &self,
        cx: &mut TaskContext<'_>,
        direction: Direction,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let mut slots = self.ring.slots.borrow_mut();
        let side = &mut slots.slots[self.key.slot as usize].sides[direction as usize];
        if side.ready {
            return Poll::Ready(Ok(()));
        }
        if !side.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            side.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// # Errors
    /// The kernel's, when it does not watch the descriptor.
    pub(super) fn check(&self) -> io::Result<()> {
        let slots = self.ring.slots.borrow();
        match slots.slots[self.key.slot as usize].failed {
            None => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// An operation found that it would block.
    pub(super) fn clear_ready(&self, direction: Direction) {
        let mut slots = self.ring.slots.borrow_mut();
        let side = &mut slots.slots[self.key.slot as usize].sides[direction as usize];
        side.ready = side.closed;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ring.forget(self.key);
    }
}

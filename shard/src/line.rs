//! The line in which HTTP requests wait until their guests may begin.
//!
//! The requests that are there are read first. Then guests begin, one after the other, for about a slice; those
//! that are left wait for the next pass, and the executor looks at its I/O in between. So nothing that the I/O brings waits for
//! all the requests there are, and none of them waits unseen in its socket. Guests that have begun and went on in the last pass,
//! for instance because more of their bodies came, had their part of the slice: what has begun ends before more begins.
//!
//! Requests begin in order while none has waited for longer than it may. Once one has, the shard has more than
//! it can serve in time: then the newest begin, which are in time, and those that waited too long are refused.
//! Refusing takes a good part of the time of a brief guest, so it has a budget; who is over it waits on to be refused, until there is
//! budget again or no more requests come.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::clock;
use crate::error::Error;
use crate::guest::Slice;
use crate::rt;
use crate::ticker::{SLICE_NS, TICK};

/// More requests are let go together by so many, while all of them begin.
const TOGETHER_STEP: usize = 8;
const TOGETHER_MAX: usize = 256;

/// What a refusal costs the shard, from reading the request to sending the answer, nanoseconds.
const REFUSAL_NS: u64 = 20_000;

/// Guests' time for each unit of time spent on refusals. Clients that are refused come back; without a bound a
/// shard with very brief guests would do nothing but refuse.
const GUESTS_TO_REFUSALS: u64 = 10;

/// Refusals saved up for a burst, nanoseconds.
const BUDGET_NS_MAX: u64 = SLICE_NS;

pub(crate) struct Line {
    wait_ns_max: u64,
    /// By number, which is the order they came in.
    waiting: RefCell<VecDeque<Waiting>>,
    next_number: Cell<u64>,
    /// Who has left the line with a lower number is refused: it is always the oldest who are.
    refused_below: Cell<u64>,
    /// How many are let go in a pass.
    together: Cell<usize>,
    /// Of the shard's guests.
    slice: Arc<Slice>,
    pass: Cell<Pass>,
    /// What may be spent on refusals.
    budget_ns: Cell<u64>,
    /// Of the task that lets go, while it sleeps.
    gate: RefCell<Option<Waker>>,
}

/// From one time that requests are let go to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    /// How long guests may begin in it.
    slice_ns: u64,
    /// [`Line::next_number`] when it began.
    next_number: u64,
    /// [`Slice::brief_ns`] when it began, when its first guest began, and when its last did.
    brief_ns: u64,
    first_brief_ns: u64,
    last_brief_ns: u64,
    /// Guests that have begun in it, and when the first did.
    begun: usize,
    first_ns: u64,
    /// Whether someone who was let go came back: the slice was over.
    came_back: bool,
}

struct Waiting {
    number: u64,
    since_ns: u64,
    waker: Waker,
}

/// A request's wait; dropping it leaves the line.
struct Place<'a> {
    line: &'a Line,
    since_ns: u64,
    number: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum LetGo {
    Begins,
    Refused,
    ComesBack,
}

impl Line {
    pub(crate) fn new(wait_ms_max: u64, slice: Arc<Slice>) -> Rc<Self> {
        Rc::new(Self {
            wait_ns_max: wait_ms_max.saturating_mul(1_000_000),
            waiting: RefCell::default(),
            next_number: Cell::new(0),
            refused_below: Cell::new(0),
            together: Cell::new(TOGETHER_STEP),
            slice,
            pass: Cell::default(),
            budget_ns: Cell::new(0),
            gate: RefCell::default(),
        })
    }

    /// Waits until the guest of a request that came at `since_ns` may begin. Tells when that is.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when it has waited for too long.
    pub(crate) async fn turn(&self, since_ns: u64) -> Result<u64, Error> {
        Place {
            line: self,
            since_ns,
            number: None,
        }
        .await
    }

    /// A guest has held the core for so long.
    pub(crate) fn guest_ran(&self, cpu_ns: u64) {
        let budget_ns = self.budget_ns.get() + cpu_ns / GUESTS_TO_REFUSALS;
        self.budget_ns.set(budget_ns.min(BUDGET_NS_MAX));
    }

    pub(crate) fn length(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Lets requests go, one pass after the other while any wait; never ends. `room` tells how many may go.
    pub(crate) async fn let_go(self: Rc<Self>, room: impl Fn() -> usize) {
        loop {
            poll_fn(|context| {
                if self.length() > 0 {
                    return Poll::Ready(());
                }
                *self.gate.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            let most = room();
            self.pass(clock::monotonic_ns(), most);
            if most > 0 {
                // Behind those who were let go.
                rt::look_at_io().await;
            } else {
                rt::sleep(TICK).await;
            }
        }
    }

    /// Lets `most` go at most.
    fn pass(&self, now_ns: u64, most: usize) {
        if most == 0 {
            // All guests that may run wait for something: it is not the core that is short.
            self.guest_ran(SLICE_NS);
        }
        let last = self.pass.get();
        let brief_ns = self.slice.brief_ns();
        let went_on_ns = brief_ns - last.brief_ns - (last.last_brief_ns - last.first_brief_ns);
        self.pass.set(Pass {
            slice_ns: SLICE_NS.saturating_sub(went_on_ns),
            next_number: self.next_number.get(),
            brief_ns,
            first_brief_ns: brief_ns,
            last_brief_ns: brief_ns,
            ..Pass::default()
        });
        self.together.set(if last.came_back {
            last.begun
        } else {
            (self.together.get() + TOGETHER_STEP).min(TOGETHER_MAX)
        });
        let most = most.min(self.together.get());
        if !self.is_late(now_ns, VecDeque::front) {
            for _ in 0..most {
                self.wake(VecDeque::pop_front);
            }
            return;
        }
        // Then the newest begin all the same: a shard that only refused would never catch up.
        let nobody_in_time = self.is_late(now_ns, VecDeque::back);
        let nobody_came = self.next_number.get() == last.next_number;
        for _ in 0..most {
            if !nobody_in_time && self.is_late(now_ns, VecDeque::back) {
                break;
            }
            self.wake(VecDeque::pop_back);
        }
        // Those that are left of an overload need not wait for the budget: nobody else needs the time.
        let mut budget_ns = if nobody_in_time && nobody_came {
            SLICE_NS
        } else {
            self.budget_ns.get()
        };
        while budget_ns >= REFUSAL_NS && self.is_late(now_ns, VecDeque::front) {
            budget_ns -= REFUSAL_NS;
            if let Some(number) = self.wake(VecDeque::pop_front) {
                self.refused_below.set(number + 1);
            }
        }
        self.budget_ns.set(budget_ns);
    }

    /// Wakes the one at an end of the line, who leaves it, and tells the number.
    fn wake(&self, end: fn(&mut VecDeque<Waiting>) -> Option<Waiting>) -> Option<u64> {
        let left = end(&mut self.waiting.borrow_mut())?;
        left.waker.wake();
        Some(left.number)
    }

    /// Whether the request at an end of the line has waited for longer than it may.
    fn is_late(&self, now_ns: u64, end: fn(&VecDeque<Waiting>) -> Option<&Waiting>) -> bool {
        let waiting = self.waiting.borrow();
        end(&waiting).is_some_and(|one| now_ns.saturating_sub(one.since_ns) > self.wait_ns_max)
    }

    /// What becomes of a request that was let go, when its turn of the executor has come. The first of a pass always begins.
    fn let_go_at(&self, number: u64, now_ns: u64) -> LetGo {
        if number < self.refused_below.get() {
            return LetGo::Refused;
        }
        let mut pass = self.pass.get();
        let brief_ns = self.slice.brief_ns();
        if pass.begun == 0 {
            pass.first_ns = now_ns;
            pass.first_brief_ns = brief_ns;
        } else if now_ns - pass.first_ns >= pass.slice_ns {
            pass.came_back = true;
            self.pass.set(pass);
            return LetGo::ComesBack;
        }
        pass.last_brief_ns = brief_ns;
        pass.begun += 1;
        self.pass.set(pass);
        LetGo::Begins
    }

    fn join(&self, since_ns: u64, waker: &Waker) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.insert(number, since_ns, waker);
        number
    }

    fn insert(&self, number: u64, since_ns: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.partition_point(|other| other.number < number);
        let waker = waker.clone();
        waiting.insert(
            at,
            Waiting {
                number,
                since_ns,
                waker,
            },
        );
        drop(waiting);
        let gate = self.gate.take();
        if let Some(gate) = gate {
            gate.wake();
        }
    }

    /// Whether this one still waits; then it is woken by `waker` from now on.
    fn still_waits(&self, number: u64, waker: &Waker) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Ok(at) = waiting.binary_search_by_key(&number, |other| other.number) else {
            return false;
        };
        let old = std::mem::replace(&mut waiting[at].waker, waker.clone());
        // A waker that is dropped may end a task that waits here, too.
        drop(waiting);
        drop(old);
        true
    }

    fn leave(&self, number: u64) {
        let mut waiting = self.waiting.borrow_mut();
        if let Ok(at) = waiting.binary_search_by_key(&number, |other| other.number) {
            let left = waiting.remove(at);
            drop(waiting);
            drop(left);
        }
    }
}

impl Future for Place<'_> {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (line, waker) = (self.line, context.waker());
        let Some(number) = self.number else {
            self.number = Some(line.join(self.since_ns, waker));
            return Poll::Pending;
        };
        if line.still_waits(number, waker) {
            return Poll::Pending;
        }
        let now_ns = clock::monotonic_ns();
        match line.let_go_at(number, now_ns) {
            LetGo::Begins => Poll::Ready(Ok(now_ns)),
            LetGo::Refused => Poll::Ready(Err(Error::Overloaded {
                reason: format!(
                    "the request has waited for {} ms, and the shard has more than it can serve",
                    now_ns.saturating_sub(self.since_ns) / 1_000_000
                ),
            })),
            LetGo::ComesBack => {
                line.insert(number, self.since_ns, waker);
                Poll::Pending
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.line.leave(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::task::Wake;

    const SECOND_NS: u64 = 1_000_000_000;
    const WAIT_NS_MAX: u64 = 5_000_000;
    const PARSE_NS: u64 = 2_000;

    /// Notes who is woken, in order.
    struct Note(u64, Arc<Mutex<VecDeque<u64>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().expect("one thread").push_back(self.0);
        }
    }

    /// A shard whose requests come at times that are known, each with a guest that takes `guest_ns`.
    struct Shard {
        line: Rc<Line>,
        woken: Arc<Mutex<VecDeque<u64>>>,
        guest_ns: u64,
        now_ns: u64,
        /// When each came, and how long those waited that were served.
        came_ns: Vec<u64>,
        waited_ns: Vec<u64>,
        refused: u64,
    }

    impl Shard {
        fn new(guest_ns: u64) -> Self {
            Self {
                line: Line::new(WAIT_NS_MAX / 1_000_000, Arc::default()),
                woken: Arc::default(),
                guest_ns,
                now_ns: SECOND_NS,
                came_ns: Vec::new(),
                waited_ns: Vec::new(),
                refused: 0,
            }
        }

        fn waker(&self, number: u64) -> Waker {
            Waker::from(Arc::new(Note(number, Arc::clone(&self.woken))))
        }

        fn come(&mut self, came_ns: u64) {
            let number = self.came_ns.len() as u64;
            self.came_ns.push(came_ns);
            assert_eq!(self.line.join(came_ns, &self.waker(number)), number);
            self.now_ns = self.now_ns.max(came_ns) + PARSE_NS;
        }

        /// One pass; how many have left the line in it.
        fn pass(&mut self) -> usize {
            let before = self.line.length();
            self.line.pass(self.now_ns, usize::MAX);
            let woken = std::mem::take(&mut *self.woken.lock().expect("one thread"));
            for number in woken {
                let since_ns = self.came_ns[number as usize];
                match self.line.let_go_at(number, self.now_ns) {
                    LetGo::Begins => {
                        self.waited_ns.push(self.now_ns - since_ns);
                        self.now_ns += self.guest_ns;
                        self.line.guest_ran(self.guest_ns);
                    }
                    LetGo::Refused => {
                        self.refused += 1;
                        self.now_ns += REFUSAL_NS;
                    }
                    LetGo::ComesBack => self.line.insert(number, since_ns, &self.waker(number)),
                }
            }
            before - self.line.length()
        }

        /// For two seconds, requests come `apart_ns` from each other.
        fn serve(&mut self, apart_ns: u64) {
            let end_ns = self.now_ns + 2 * SECOND_NS;
            let mut next_ns = self.now_ns;
            while self.now_ns < end_ns {
                self.now_ns = match self.line.length() {
                    0 => self.now_ns.max(next_ns),
                    _ => self.now_ns,
                };
                while next_ns <= self.now_ns {
                    self.come(next_ns);
                    next_ns += apart_ns;
                }
                self.pass();
            }
        }
    }

    #[test]
    fn a_shard_that_keeps_up_refuses_nobody() {
        for guest_ns in [10_000, 1_000_000] {
            let mut shard = Shard::new(guest_ns);
            shard.serve((guest_ns + PARSE_NS) * 10 / 9);
            assert_eq!(shard.refused, 0, "{guest_ns}");
            assert!(shard.waited_ns.len() as u64 > SECOND_NS / guest_ns);
        }
    }

    #[test]
    fn of_more_than_can_be_served_those_that_are_served_are_in_time() {
        for guest_ns in [20_000, 200_000, 1_000_000] {
            let mut shard = Shard::new(guest_ns);
            shard.serve(guest_ns / 3);
            let guests_ns = shard.waited_ns.len() as u64 * guest_ns;
            assert!(
                guests_ns > 2 * SECOND_NS * 6 / 10,
                "{guest_ns}: guests had {guests_ns} ns of two seconds"
            );
            let refusals_ns = shard.refused * REFUSAL_NS;
            assert!(shard.refused > 0 && refusals_ns <= guests_ns / GUESTS_TO_REFUSALS);
            // Who is let go in time begins two passes later at most.
            let in_time_ns = WAIT_NS_MAX + 2 * (SLICE_NS + guest_ns);
            let longest_ns = shard.waited_ns.iter().max();
            assert!(
                longest_ns <= Some(&in_time_ns),
                "{guest_ns}: {longest_ns:?} ns"
            );
        }
    }

    #[test]
    fn when_nobody_is_in_time_some_begin_and_many_are_refused() {
        let mut shard = Shard::new(100_000);
        for _ in 0..1000 {
            shard.come(SECOND_NS);
        }
        while shard.line.length() > 0 {
            shard.pass();
        }
        let served = shard.waited_ns.len() as u64;
        assert!((100..500).contains(&served), "{served} were served");
        assert_eq!(served + shard.refused, 1000);
    }

    #[test]
    fn beyond_the_budget_late_requests_are_refused_only_when_no_more_come() {
        let mut shard = Shard::new(100_000);
        let late_ns = SECOND_NS + 2 * WAIT_NS_MAX;
        for _ in 0..200 {
            shard.come(SECOND_NS);
        }
        let mut pass = |comes: bool, most: usize| {
            if comes {
                shard.come(SECOND_NS);
            }
            shard.line.budget_ns.set(0);
            let before = shard.line.length();
            shard.line.pass(late_ns, most);
            before - shard.line.length() - most
        };
        let refused_in_a_slice = usize::try_from(SLICE_NS / REFUSAL_NS).expect("few");
        assert_eq!(pass(true, 1), 0, "the core is short");
        assert_eq!(pass(true, 0), refused_in_a_slice / 10, "turns are short");
        assert_eq!(pass(false, 1), refused_in_a_slice, "nobody else comes");
    }

    #[test]
    fn a_burst_is_served_in_order_a_slice_at_a_time() {
        let mut shard = Shard::new(50_000);
        for _ in 0..90 {
            shard.come(SECOND_NS);
        }
        let mut longest = 0;
        while shard.line.length() > 0 {
            longest = longest.max(shard.pass());
        }
        assert_eq!(shard.refused, 0);
        assert!(shard.waited_ns.is_sorted());
        assert!((8..=20).contains(&longest), "{longest} in a millisecond");
    }

    #[test]
    fn fewer_begin_while_others_go_on() {
        let mut shard = Shard::new(50_000);
        for _ in 0..60 {
            shard.come(SECOND_NS);
        }
        let mut begun = || {
            shard.line.slice.count(800_000);
            let before = shard.waited_ns.len();
            shard.pass();
            shard.waited_ns.len() - before
        };
        assert_eq!([begun(), begun(), begun()], [4, 4, 4]);
    }

    #[test]
    fn long_guests_begin_one_in_a_pass() {
        let mut shard = Shard::new(3_000_000);
        for _ in 0..20 {
            shard.come(SECOND_NS);
        }
        for begun in 1..=2 {
            shard.pass();
            assert_eq!(shard.waited_ns.len(), begun);
        }
    }

    #[test]
    fn who_leaves_the_line_is_not_let_go() {
        let line = Line::new(5, Arc::default());
        let mut place = Box::pin(line.turn(0));
        assert!(poll_once(&mut place).is_none());
        assert_eq!(line.length(), 1);
        drop(place);
        assert_eq!(line.length(), 0);
    }

    fn poll_once(future: &mut Pin<Box<impl Future>>) -> Option<()> {
        let mut context = Context::from_waker(Waker::noop());
        future.as_mut().poll(&mut context).is_ready().then_some(())
    }
}

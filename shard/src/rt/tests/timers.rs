//! Sleeping, time-outs and their ends.

use super::super::*;
use super::*;
use futures_lite::future::poll_once;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;

#[test]
fn sleepers_wake_in_order() {
    on_both(async |_| {
        let order = Rc::new(RefCell::new(Vec::new()));
        for wait_ms in [30, 10, 20] {
            let order = Rc::clone(&order);
            spawn(async move {
                sleep(Duration::from_millis(wait_ms)).await;
                order.borrow_mut().push(wait_ms);
            });
        }
        eventually("all wake", || order.borrow().len() == 3).await;
        assert_eq!(*order.borrow(), [10, 20, 30]);
    });
}

#[test]
fn sleep_takes_its_time() {
    on_both(async |kind| {
        for wait in [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_millis(20),
        ] {
            let begun = Instant::now();
            sleep(wait).await;
            assert!(begun.elapsed() >= wait, "{kind}: too early");
            assert!(
                begun.elapsed() < wait + Duration::from_millis(200),
                "{kind}: much too late"
            );
        }
    });
}

#[test]
fn reset_moves_the_end_both_ways() {
    on_both(async |_| {
        let begun = Instant::now();
        let mut earlier = sleep(Duration::from_secs(1000));
        assert!(poll_once(&mut earlier).await.is_none());
        earlier.reset(begun + Duration::from_millis(10));
        earlier.await;
        assert!(begun.elapsed() < Duration::from_secs(5));

        let begun = Instant::now();
        let mut later = sleep(Duration::from_millis(5));
        assert!(poll_once(&mut later).await.is_none());
        later.reset(begun + Duration::from_millis(50));
        (&mut later).await;
        assert!(begun.elapsed() >= Duration::from_millis(50));

        later.reset(Instant::now() + Duration::from_millis(5));
        assert!(
            poll_once(&mut later).await.is_none(),
            "may be used again after its end"
        );
        later.await;
    });
}

#[test]
fn reset_counts_without_another_poll() {
    on_both(async |_| {
        let shared = Rc::new(RefCell::new(sleep(Duration::from_secs(1000))));
        let ended = Rc::new(RefCell::new(false));
        spawn({
            let (shared, ended) = (Rc::clone(&shared), Rc::clone(&ended));
            async move {
                std::future::poll_fn(|cx| Pin::new(&mut *shared.borrow_mut()).poll(cx)).await;
                *ended.borrow_mut() = true;
            }
        });
        yield_to_io().await;
        shared.borrow_mut().reset(Instant::now());
        eventually("it ends", || *ended.borrow()).await;
    });
}

#[test]
fn timeout_gives_the_output_or_elapses() {
    on_both(async |_| {
        assert_eq!(timeout(Duration::from_secs(10), async { 3 }).await, Ok(3));
        assert_eq!(
            timeout(Duration::ZERO, async { 4 }).await,
            Ok(4),
            "ready wins"
        );
        let never = std::future::pending::<()>();
        assert_eq!(timeout(Duration::from_millis(5), never).await, Err(Elapsed));
    });
}

#[test]
fn endless_sleeps_do_not_overflow() {
    on_both(async |_| {
        let mut endless = sleep(Duration::MAX);
        assert!(poll_once(&mut endless).await.is_none());
        sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn sleep_may_travel_between_threads() {
    fn assert_bounds<T: Send + Sync + Unpin>(_: &T) {}
    on_both(async |_| {
        let mut travelling = sleep(Duration::from_millis(20));
        assert_bounds(&travelling);
        assert!(poll_once(&mut travelling).await.is_none());
        let back = std::thread::spawn(move || travelling)
            .join()
            .expect("no panic");
        back.await;
        let mut lost = sleep(Duration::from_millis(20));
        assert!(poll_once(&mut lost).await.is_none());
        std::thread::spawn(move || drop(lost))
            .join()
            .expect("no panic");
        sleep(Duration::from_millis(40)).await;
    });
    fn assert_yield<T: Send>(_: &T) {}
    assert_yield(&yield_to_io());
}

#[test]
fn a_thousand_sleepers_all_wake() {
    on_both(async |_| {
        let woken = Rc::new(RefCell::new(0));
        for number in 0..1000_u64 {
            let woken = Rc::clone(&woken);
            spawn(async move {
                sleep(Duration::from_micros(number * 37 % 20_000)).await;
                yield_to_io().await;
                *woken.borrow_mut() += 1;
            });
        }
        eventually("all wake", || *woken.borrow() == 1000).await;
    });
}

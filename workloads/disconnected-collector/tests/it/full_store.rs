//! A store that is full, and the bound on held readings: nothing is read that has no room, and
//! nothing is dropped.

use disconnected_collector::{Collector, Error, StoreError};

use crate::model::{Bucket, Cut, Sink, Task, TaskStore, input, readings, settings};

#[test]
fn a_full_store_stops_the_input_and_drops_nothing() {
    let sent = readings(200);
    for refuses_in_part in [false, true] {
        for bytes_max in [600, 1_000, 2_345, 10_000] {
            let bucket = Bucket::with_room(bytes_max);
            bucket.borrow_mut().refuses_in_part = refuses_in_part;
            let mut sink = Sink::default();
            let task = Task { chunk_bytes: 3_000, success_every: 5, ..Task::UNDISTURBED };
            let collector = task.run(&bucket, &mut sink, &input(&sent)).expect("it goes on");
            sink.assert_exactly(&sent, &format!("{bytes_max}"));
            assert!(bucket.borrow().refusals > 0, "{bytes_max} bytes were enough");
            assert_eq!(collector.counts().received, 200);
        }
    }
}

#[test]
fn input_is_not_wanted_until_a_delivery_made_room() {
    let sent = readings(50);
    let bucket = Bucket::with_room(1_200);
    let store = TaskStore::new(&bucket, u64::MAX, Cut::Before);
    let mut collector = Collector::open(store, &settings("--batch-readings=2"), [0; 16]).unwrap();
    collector.push(&input(&sent));
    collector.accept(|_, _| ()).unwrap();
    let held = collector.held();
    assert!(held > 2 && held < 50);
    assert_eq!(collector.refused(), Some(&StoreError::Other("full".to_owned())));
    assert!(!collector.wants_input() && !collector.is_input_kept());
    let refusals = bucket.borrow().refusals;
    collector.accept(|_, _| ()).unwrap();
    assert_eq!(bucket.borrow().refusals, refusals, "it was tried again without reason");
    assert!(collector.batch().unwrap().is_some());
    collector.acknowledged().unwrap();
    assert_eq!((collector.refused(), collector.held()), (None, held - 2));
    collector.accept(|_, _| ()).unwrap();
    assert_eq!(collector.held(), held, "the room of two readings was made and filled");
}

#[test]
fn a_store_without_room_for_a_single_reading_is_an_error_and_not_a_wait() {
    let sent = readings(5);
    let bucket = Bucket::with_room(330);
    let mut sink = Sink::default();
    let error = Task::UNDISTURBED.run(&bucket, &mut sink, &input(&sent)).err();
    let full = StoreError::Other("full".to_owned());
    assert_eq!(error, Some(Error::RoomMissing(full)));
}

#[test]
fn no_more_readings_are_held_than_allowed() {
    let sent = readings(200);
    for held_max in [1, 5, 64] {
        let options = format!("--batch-readings=10 --held-max={held_max}");
        let task = Task { options: &options, chunk_bytes: 5_000, ..Task::UNDISTURBED };
        let mut sink = Sink::default();
        let collector = task.run(&Bucket::new(), &mut sink, &input(&sent)).expect("it goes on");
        sink.assert_exactly(&sent, &options);
        assert_eq!(collector.counts().held_max, held_max, "{options}");
    }
}

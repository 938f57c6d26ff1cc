//! Duplicates, lines that are not readings, batches.

use disconnected_collector::{Collector, Error, Malformed};

use crate::model::{Bucket, Cut, Sink, Task, TaskStore, input, readings, settings};

#[test]
fn readings_that_come_again_are_suppressed_within_a_task_and_by_the_next() {
    let sent = readings(40);
    let (bucket, mut sink) = (Bucket::new(), Sink::default());
    let twice = [input(&sent), input(&sent)].concat();
    let counts = Task::UNDISTURBED.run(&bucket, &mut sink, &twice).unwrap().counts();
    assert_eq!((counts.received, counts.duplicates_suppressed, counts.delivered), (40, 40, 40));
    let more = readings(45);
    let counts = Task::UNDISTURBED.run(&bucket, &mut sink, &input(&more)).unwrap().counts();
    assert_eq!((counts.received, counts.duplicates_suppressed, counts.delivered), (5, 40, 5));
    sink.assert_exactly(&more, "twice");
}

#[test]
fn lines_that_are_not_readings_are_told_and_harm_no_other() {
    let sent = readings(3);
    let long = "x".repeat(20_000);
    let text =
        format!("{}\nnothing\n{}\n\n{long}\n{}\r\n{{}}", sent[0].line, sent[1].line, sent[2].line);
    let bucket = Bucket::new();
    let store = TaskStore::new(&bucket, u64::MAX, Cut::Before);
    let mut collector = Collector::open(store, &settings(""), [0; 16]).unwrap();
    let mut told = Vec::new();
    for chunk in text.as_bytes().chunks(1_000) {
        collector.push(chunk);
        collector.accept(|line, why| told.push((line, why))).unwrap();
    }
    collector.end_input();
    collector.accept(|line, why| told.push((line, why))).unwrap();
    let not_an_object = Malformed::NotAnObject;
    assert_eq!(
        told,
        [(2, not_an_object), (4, not_an_object), (5, Malformed::TooLong), (7, not_an_object)]
    );
    assert!(collector.is_input_kept());
    let body = collector.batch().unwrap().unwrap().body.clone();
    assert_eq!(body, input(&sent));
}

#[test]
fn a_batch_has_the_readings_that_were_asked_for_at_most_and_ends_early_when_they_are_long() {
    let sent = readings(40);
    let mut sink = Sink::default();
    let task = Task { chunk_bytes: 1 << 20, chunks_per_request: 2, ..Task::UNDISTURBED };
    let counts = task.run(&Bucket::new(), &mut sink, &input(&sent)).unwrap().counts();
    assert_eq!((counts.batches, sink.batch_readings_max), (10, 4));

    let note = "x".repeat(16_000);
    let mut long = readings(200);
    for sent in &mut long {
        sent.line = sent.line.replacen('{', &format!("{{\"note\":\"{note}\","), 1);
    }
    let mut sink = Sink::default();
    let task = Task { options: "--batch-readings=10000", ..task };
    task.run(&Bucket::new(), &mut sink, &input(&long)).unwrap();
    sink.assert_exactly(&long, "long");
    assert!(sink.batch_readings_max < 70, "{}", sink.batch_readings_max);
}

#[test]
fn stations_beyond_the_bound_are_malformed_and_the_others_go_on() {
    let line = |station: usize, hour: usize| {
        format!("{{\"origin\":\"S{station}\",\"time_hour\":\"2013-01-01T{hour:02}:00:00Z\"}}\n")
    };
    let mut text: String = (0..1_030).map(|station| line(station, 0)).collect();
    text += &line(0, 1);
    let mut sink = Sink::default();
    let task = Task { chunk_bytes: 5_000, options: "", ..Task::UNDISTURBED };
    let counts = task.run(&Bucket::new(), &mut sink, text.as_bytes()).unwrap().counts();
    assert_eq!((counts.received, counts.malformed), (1_025, 6));
}

#[test]
fn a_bucket_of_another_program_is_refused_and_left_alone() {
    for (key, value) in [("ledger", "something else"), ("reading/000000000000", "x")] {
        let bucket = Bucket::new();
        bucket.borrow_mut().entries.insert(key.to_owned(), value.as_bytes().to_vec());
        let store = TaskStore::new(&bucket, u64::MAX, Cut::Before);
        let error = Collector::open(store, &settings(""), [0; 16]).err();
        assert_eq!(error, Some(Error::Damaged { key: key.to_owned() }));
        assert_eq!(bucket.borrow().entries[key], value.as_bytes());
    }
}

#[test]
fn a_reading_that_the_bucket_lost_is_an_error() {
    let bucket = Bucket::new();
    let store = TaskStore::new(&bucket, u64::MAX, Cut::Before);
    let mut collector = Collector::open(store, &settings(""), [0; 16]).unwrap();
    collector.push(&input(&readings(5)));
    collector.accept(|_, _| ()).unwrap();
    let key = "reading/000000000003";
    assert!(bucket.borrow_mut().entries.remove(key).is_some());
    assert_eq!(collector.batch(), Err(Error::Damaged { key: key.to_owned() }));
}

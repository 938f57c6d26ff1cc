//! The task is killed at every call to the bucket, in every way, and again, and at last comes one that
//! is not.

use crate::model::{Bucket, CUTS, Cut, Sent, Sink, Task, input, readings};

/// Kills a first task at each of its calls in turn until it gets through, and each time the one after it
/// at each of these calls; then one runs to the end. Returns how many kills there were.
fn kill_at_every_call(
    case: &str,
    sent: &[Sent],
    task: Task<'_>,
    next_cut: Cut,
    next_calls: &[u64],
    bytes_max: usize,
) -> u64 {
    let input = input(sent);
    let mut kills = 0;
    for call in 1_u64.. {
        let mut first_got_through = false;
        for &next_call in next_calls {
            let case =
                format!("{case}, {task:?} killed at {call}, then at {next_call} {next_cut:?}");
            let bucket = Bucket::with_room(bytes_max);
            bucket.borrow_mut().refuses_in_part = true;
            let mut sink = Sink::default();
            let first = Task { killed_at_call: call, ..task };
            first_got_through = first.run(&bucket, &mut sink, &input).is_ok();
            // The next ones have another batch size: a batch that was chosen stays as it is.
            let second = Task {
                killed_at_call: next_call,
                cut: next_cut,
                options: "--batch-readings=7",
                ..task
            };
            kills += u64::from(!first_got_through)
                + u64::from(second.run(&bucket, &mut sink, &input).is_err());
            let last = Task { options: "--batch-readings=3", ..task };
            let collector = last.run(&bucket, &mut sink, &input).expect("nobody kills it");
            sink.assert_exactly(sent, &case);
            let counts = collector.counts();
            assert_eq!(counts.received + counts.duplicates_suppressed, sent.len() as u64, "{case}");
            let left: Vec<String> = bucket.borrow().entries.keys().cloned().collect();
            assert_eq!(left, ["ledger"], "{case}: something was left behind");
        }
        if first_got_through {
            return kills;
        }
    }
    unreachable!("the task makes a finite number of calls")
}

#[test]
fn a_task_that_is_killed_anywhere_loses_and_repeats_nothing() {
    let sent = readings(40);
    for cut in CUTS {
        for (success_every, answers_are_lost) in [(1, false), (3, false), (2, true)] {
            let task = Task { cut, success_every, answers_are_lost, ..Task::UNDISTURBED };
            let kills =
                kill_at_every_call("once", &sent, task, Cut::Before, &[u64::MAX], usize::MAX);
            assert!(kills > 30, "only {kills} points to be killed at");
        }
    }
}

#[test]
fn so_does_one_that_is_killed_again_while_it_recovers() {
    let sent = readings(20);
    let next_calls: Vec<u64> = (1..=16).collect();
    for cut in CUTS {
        for next_cut in [Cut::Before, Cut::Odd, Cut::AllButFirst] {
            for chunks_per_request in [1, 4] {
                let task = Task { cut, chunks_per_request, ..Task::UNDISTURBED };
                kill_at_every_call("twice", &sent, task, next_cut, &next_calls, usize::MAX);
            }
        }
    }
}

#[test]
fn so_does_one_whose_store_is_full() {
    let sent = readings(40);
    for cut in CUTS {
        for bytes_max in [900, 1_200, 1_700] {
            let task = Task { cut, success_every: 2, chunk_bytes: 1_500, ..Task::UNDISTURBED };
            kill_at_every_call("full", &sent, task, Cut::Odd, &[8, 12, u64::MAX], bytes_max);
        }
    }
}

#[test]
fn readings_behind_a_gap_do_not_come_back_when_other_input_fills_it() {
    let sent = readings(30);
    let bucket = Bucket::new();
    let mut sink = Sink::default();
    // Of the group of twelve only every other reading is written.
    let whole = Task { chunk_bytes: 1 << 20, options: "--batch-readings=100", ..Task::UNDISTURBED };
    let cut = Task { killed_at_call: 9, cut: Cut::Odd, ..whole };
    assert!(cut.run(&bucket, &mut sink, &input(&sent[..12])).is_err());
    let kept = bucket.borrow().entries.keys().filter(|key| key.starts_with("reading/")).count();
    assert_eq!((kept, sink.readings.len()), (6, 0), "the kill must come in the group");
    // The next input is shorter than the gap is wide, and the one after it begins later.
    for input_readings in [&sent[..1], &sent[12..]] {
        whole.run(&bucket, &mut sink, &input(input_readings)).expect("nobody kills it");
    }
    let expected: Vec<Sent> = [&sent[..1], &sent[12..]].concat();
    sink.assert_exactly(&expected, "gap");
}

//! The weather readings of half a year. Needs `python3`.

use std::path::Path;
use std::process::Command;

use crate::model::{Bucket, Sent, Sink, Task};

#[test]
fn all_readings_arrive_once_and_in_order_over_outages_and_kills() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/weather-ndjson");
    let output = Command::new("python3").arg(script).output().expect("python3 is there");
    assert!(output.status.success());
    let sent: Vec<Sent> = std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .map(|line| Sent { station: line[11..14].to_owned(), line: line.to_owned() })
        .collect();
    assert_eq!(sent.len(), 13_014);
    let (bucket, mut sink) = (Bucket::new(), Sink::default());
    let task = Task {
        options: "--batch-readings=100",
        chunk_bytes: 64 * 1024,
        success_every: 3,
        answers_are_lost: true,
        ..Task::UNDISTURBED
    };
    for killed_at_call in [40, 90, 140, 190] {
        let task = Task { killed_at_call, ..task };
        assert!(task.run(&bucket, &mut sink, &output.stdout).is_err());
    }
    let counts = task.run(&bucket, &mut sink, &output.stdout).unwrap().counts();
    assert_eq!(counts.malformed, 0);
    assert_eq!(counts.received + counts.duplicates_suppressed, 13_014);
    let stations = ["EWR", "JFK", "LGA"].map(|station| {
        let of = |line: &&String| line[11..14] == *station;
        let arrived: Vec<&String> = sink.readings.iter().filter(of).collect();
        let expected: Vec<&String> = sent.iter().map(|sent| &sent.line).filter(of).collect();
        assert!(arrived == expected, "{station}: {} of {}", arrived.len(), expected.len());
        arrived.len()
    });
    assert_eq!(stations, [4_338; 3]);
    assert!(sink.suppressed > 0);
}

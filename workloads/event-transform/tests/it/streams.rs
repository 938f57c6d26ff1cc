//! Streams cut anywhere, ended anywhere, and lines without bound.

use event_transform::limits::LINE_BYTES_MAX;

use crate::{assert_same_lines, data, transform};

fn start_of_sample(lines: usize) -> Vec<u8> {
    let sample = data("flights-sample.ndjson");
    sample.split_inclusive(|&byte| byte == b'\n').take(lines).flatten().copied().collect()
}

#[test]
fn chunks_may_be_cut_anywhere() {
    let input = start_of_sample(300);
    let whole = transform(&input, usize::MAX);
    for chunk_bytes in [1, 2, 7, 299, 4096] {
        assert_same_lines(&transform(&input, chunk_bytes), &whole);
    }
}

#[test]
fn a_last_line_needs_no_line_feed() {
    let input = start_of_sample(3);
    let without = input.strip_suffix(b"\n").unwrap();
    assert_same_lines(&transform(without, 64), &transform(&input, 64));
    assert!(transform(b"", 1).is_empty());
    assert!(!transform(b"\n", 1).is_empty());
}

#[test]
fn a_line_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
    let event = start_of_sample(1);
    let mut line = event.strip_suffix(b"\n").unwrap().to_vec();
    line.resize(LINE_BYTES_MAX, b' ');
    let taken = String::from_utf8(transform(&line, 1000)).unwrap();
    assert!(taken.contains("flight.transformed.v1"), "{taken}");
    line.push(b' ');
    for chunk_bytes in [1000, usize::MAX] {
        let refused = String::from_utf8(transform(&line, chunk_bytes)).unwrap();
        assert!(refused.contains("\"reason\":\"line_too_long\""), "{refused}");
        assert!(refused.contains(&format!("\"input_bytes\":{}}}", line.len())), "{refused}");
    }
}

#[test]
fn a_line_longer_than_memory_is_worth_is_counted_and_passed_over() {
    let mut input = vec![b'x'; 20 * 1024 * 1024];
    input.push(b'\n');
    input.extend_from_slice(&start_of_sample(1));
    let out = transform(&input, 64 * 1024);
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("\"input_bytes\":20971520"), "{}", lines[0]);
    assert!(lines[1].contains("flight.transformed.v1"), "{}", lines[1]);
}

#[test]
fn the_largest_dead_letters_fit_their_buffer() {
    let mut input = vec![1_u8; LINE_BYTES_MAX];
    input.push(b'\n');
    let input = input.repeat(40);
    assert_eq!(transform(&input, usize::MAX).iter().filter(|&&byte| byte == b'\n').count(), 40);
}

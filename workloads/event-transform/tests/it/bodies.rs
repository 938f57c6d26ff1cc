//! The forms of HTTP bodies.

use event_transform::body::{self, Answer};

use crate::{data, transform};

fn first_event() -> Vec<u8> {
    let sample = data("flights-sample.ndjson");
    sample.split(|&byte| byte == b'\n').next().unwrap().to_vec()
}

fn cloudevent(data: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/t","type":"t","data":{data}}}"#)
}

fn text(answer: Answer) -> String {
    match answer {
        Answer::Transformed(out) | Answer::Rejected(out) => String::from_utf8(out).unwrap(),
        Answer::Malformed(why) => why.to_owned(),
    }
}

#[test]
fn one_event_gives_what_a_line_gives() {
    let event = first_event();
    let line = transform(&event, usize::MAX);
    let expected = line.strip_suffix(b"\n").unwrap();
    assert_eq!(body::event(&event), Answer::Transformed(expected.to_vec()));
    let wrapped = cloudevent(std::str::from_utf8(&event).unwrap());
    assert_eq!(body::cloudevent(wrapped.as_bytes()), Answer::Transformed(expected.to_vec()));
}

#[test]
fn a_malformed_event_is_rejected_with_its_dead_letter() {
    let answer = body::event(b"{\"year\":1}");
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    assert!(text(answer).contains("\"reason\":\"field_range\",\"field\":\"year\""));
}

#[test]
fn a_body_that_is_not_what_it_says_is_malformed() {
    for body in ["", "x", "[1]", "7", "{", "{\"a\":1}x"] {
        assert!(matches!(body::event(body.as_bytes()), Answer::Malformed(_)), "{body}");
        assert!(matches!(body::cloudevent(body.as_bytes()), Answer::Malformed(_)), "{body}");
    }
    for body in ["", "{}", "7", "[", "[1,]", "[1]x", "[\"\\x\"]"] {
        assert!(matches!(body::batch(body.as_bytes()), Answer::Malformed(_)), "{body}");
    }
    assert!(matches!(body::batch(b"[\"\xff\"]"), Answer::Malformed(_)));
    let without_data = cloudevent("1").replace(",\"data\":1", "");
    assert!(matches!(body::cloudevent(without_data.as_bytes()), Answer::Malformed(_)));
    let old = cloudevent("{}").replace("1.0", "0.3");
    assert!(matches!(body::cloudevent(old.as_bytes()), Answer::Malformed(_)));
}

#[test]
fn a_batch_is_answered_element_by_element() {
    let event = String::from_utf8(first_event()).unwrap();
    let batch = format!("[{}, {}, 5, {}]", cloudevent(&event), cloudevent("{}"), cloudevent("[]"));
    let out = text(body::batch(batch.as_bytes()));
    let reasons =
        ["\"line\":2,\"reason\":\"field_missing\"", "\"line\":3,\"reason\":\"not_cloudevent\""];
    for reason in reasons {
        assert!(out.contains(reason), "{out}");
    }
    assert!(out.contains("\"line\":4,\"reason\":\"not_object\""), "{out}");
    assert!(out.starts_with("[{\"specversion\"") && out.ends_with("}]"), "{out}");
    assert_eq!(text(body::batch(b" [ ] ")), "[]");
}

//! Server-sent events (WHATWG HTML, "Server-sent events"), read as their bytes come.
//!
//! Bytes may break anywhere, also within a line end or a character. A line ends in LF, CR or CRLF.
//! Whatever a server sends, no more than [`EVENT_BYTES_MAX`] of one event is kept.

use std::collections::VecDeque;

/// The most bytes that one event may have, its unfinished line included.
pub(crate) const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// What kind of event it is; `message` when the server did not say.
    pub(crate) name: String,
    /// Its data; lines are separated by LF.
    pub(crate) data: String,
}

/// The server's events are not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it sent an event of more than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it sent an event that is not UTF-8")]
    NotUtf8,
}

/// From bytes to events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The line that is not at its end yet.
    line: Vec<u8>,
    /// A CR was the last byte: an LF that follows belongs to it.
    after_carriage_return: bool,
    after_first_line: bool,
    name: String,
    /// The data lines so far, each with an LF.
    data: String,
    ready: VecDeque<Event>,
}

impl Reader {
    /// Takes in what came.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        if std::mem::take(&mut self.after_carriage_return) {
            match bytes.first() {
                Some(b'\n') => bytes = &bytes[1..],
                Some(_) => {}
                None => self.after_carriage_return = true,
            }
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.keep(&bytes[..end])?;
            let is_carriage_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_carriage_return {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_carriage_return = true,
                }
            }
            self.end_line()?;
        }
        self.keep(bytes)
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + part.len() + self.data.len() + self.name.len() > EVENT_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let line = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&line).map_err(|_| Malformed::NotUtf8)?;
        if !std::mem::replace(&mut self.after_first_line, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            // Comments have an empty name; `id` and `retry` are for clients that resume a stream.
            _ => {}
        }
        Ok(())
    }

    /// An empty line ends an event; one without data is none.
    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return;
        }
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        self.ready.push_back(Event { name, data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: welcome\nevent: span\r\ndata: {\"name\":\"größe\"}\r\n\r\nevent:lost\rdata:1\rdata: 2\r\r\
        data\n\nid: 7\nretry: 10\n\n: keep-alive\n\nevent: empty\n\ndata:  two spaces\nother: x\n\ndata: unfinished\n";

    fn expected() -> Vec<Event> {
        let event = |name: &str, data: &str| Event {
            name: name.into(),
            data: data.into(),
        };
        vec![
            event("span", "{\"name\":\"größe\"}"),
            event("lost", "1\n2"),
            event("message", ""),
            event("message", " two spaces"),
        ]
    }

    fn read(chunks: &[&[u8]]) -> Vec<Event> {
        let mut reader = Reader::default();
        for chunk in chunks {
            reader.push(chunk).expect("well formed");
        }
        std::iter::from_fn(|| reader.next()).collect()
    }

    #[test]
    fn lines_end_in_lf_cr_or_crlf_and_unfinished_events_do_not_count() {
        assert_eq!(read(&[STREAM.as_bytes()]), expected());
    }

    #[test]
    fn bytes_may_break_anywhere() {
        let bytes = STREAM.as_bytes();
        for first in 0..bytes.len() {
            for second in [first, first + 1, (first + bytes.len()) / 2] {
                let second = second.min(bytes.len());
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read(&chunks), expected(), "broken at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected());
    }

    #[test]
    fn an_event_beyond_the_bound_is_refused_and_not_kept() {
        let mut reader = Reader::default();
        let chunk = vec![b'x'; 1 << 20];
        let mut refused = reader.push(b"data: ");
        for _ in 0..EVENT_BYTES_MAX / chunk.len() {
            refused = refused.and_then(|()| reader.push(&chunk));
        }
        assert_eq!(refused, Err(Malformed::TooLarge));

        let mut reader = Reader::default();
        let line = [&b"data: "[..], &chunk, b"\n"].concat();
        let mut refused = Ok(());
        for _ in 0..=EVENT_BYTES_MAX / chunk.len() {
            refused = refused.and_then(|()| reader.push(&line));
        }
        assert_eq!(refused, Err(Malformed::TooLarge), "also over many lines");
        assert!(reader.line.len() + reader.data.len() <= EVENT_BYTES_MAX);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(b"data: \xff\n"), Err(Malformed::NotUtf8));
    }
}

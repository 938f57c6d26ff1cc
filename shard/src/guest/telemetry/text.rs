//! A guest's words as a line of its task's log.

use vyr_core::limits::GUEST_EVENT_BYTES_MAX;

/// `LEVEL context: message`, on one line within the bound.
pub(super) fn line(level: &str, context: &str, message: &str) -> String {
    let mut line = String::new();
    push_escaped(&mut line, level);
    if !context.is_empty() {
        line.push(' ');
        push_escaped(&mut line, context);
    }
    line.push_str(": ");
    push_escaped(&mut line, message);
    line
}

/// Control characters are written as Rust writes them in a literal, so that nobody's terminal obeys them.
fn push_escaped(line: &mut String, text: &str) {
    for character in text.chars() {
        if line.len() >= GUEST_EVENT_BYTES_MAX {
            line.push('…');
            return;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(line("INFO", "", "done"), "INFO: done");
        assert_eq!(
            line("WARN", "a\nb", "x\r\n\u{1b}[2J ü"),
            "WARN a\\nb: x\\r\\n\\u{1b}[2J ü"
        );
        let long = line("INFO", "", &"\0".repeat(1 << 20));
        assert!(long.len() < GUEST_EVENT_BYTES_MAX + 16 && long.ends_with('…'));
    }
}

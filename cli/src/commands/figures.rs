//! How times, rates and sizes are written for people: short, in the unit that fits.

/// A time, such as `850ns`, `12.3µs`, `4.56ms`, `7.89s`, `12m`.
pub(crate) fn time(time_ns: u64) -> String {
    let value = time_ns as f64;
    match time_ns {
        0..1_000 => format!("{time_ns}ns"),
        1_000..1_000_000 => scaled(value / 1e3, "µs"),
        1_000_000..1_000_000_000 => scaled(value / 1e6, "ms"),
        1_000_000_000..600_000_000_000 => scaled(value / 1e9, "s"),
        _ => {
            let minutes = time_ns / 60_000_000_000;
            match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
                (0, 0, minutes) => format!("{minutes}m"),
                (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
                (days, hours, _) => format!("{days}d{hours:02}h"),
            }
        }
    }
}

/// A number of bytes, such as `640 B`, `1.50 KiB`, `12.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in [" B", " KiB", " MiB", " GiB"] {
        if value < 1000.0 {
            return if unit == " B" {
                format!("{bytes} B")
            } else {
                scaled(value, unit)
            };
        }
        value /= 1024.0;
    }
    scaled(value, " TiB")
}

/// A number of things each second, such as `0`, `0.25`, `12.5`, `1234`, `56.7k`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second == 0.0 {
        return "0".into();
    }
    if per_second < 10_000.0 {
        return scaled(per_second, "");
    }
    if per_second < 1e6 {
        return scaled(per_second / 1e3, "k");
    }
    scaled(per_second / 1e6, "M")
}

/// A number of things, as [`rate`] shortens it.
pub(crate) fn count(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    rate(count as f64)
}

/// A share of the whole, such as `53%`.
pub(crate) fn share(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// The time of day, UTC, such as `17:03:59.123`.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let (seconds, milliseconds) = (unix_ms / 1000 % 86_400, unix_ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{milliseconds:03}",
        seconds % 60
    )
}

/// A text from elsewhere on one line of a terminal: what would move the cursor becomes a `·`.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '·' } else { c };
    text.chars().map(shown).collect()
}

/// Three digits, as many of them behind the point as fit.
fn scaled(value: f64, unit: &str) -> String {
    if value < 9.995 {
        format!("{value:.2}{unit}")
    } else if value < 99.95 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_the_unit_that_fits() {
        for (time_ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_500, "1.50µs"),
            (12_345, "12.3µs"),
            (123_456, "123µs"),
            (99_960_000, "100ms"),
            (4_560_000, "4.56ms"),
            (7_890_000_000, "7.89s"),
            (599_000_000_000, "599s"),
            (720_000_000_000, "12m"),
            (11_520_000_000_000, "3h12m"),
            (266_400_000_000_000, "3d02h"),
        ] {
            assert_eq!(time(time_ns), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (640, "640 B"),
            (1536, "1.50 KiB"),
            (12_900_000, "12.3 MiB"),
            (5 << 40, "5.00 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        for (per_second, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.5, "12.5"),
            (1234.0, "1234"),
            (56_700.0, "56.7k"),
            (2.5e6, "2.50M"),
        ] {
            assert_eq!(rate(per_second), text);
        }
        assert_eq!(
            (count(9_999), count(123_456)),
            ("9999".into(), "123k".into())
        );
        assert_eq!(share(0.527), "53%");
        assert_eq!(time_of_day(1_700_000_000_042), "22:13:20.042");
    }

    #[test]
    fn a_text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}d"), "a·[2Jb·c·d");
    }
}

//! Printing: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Logs to standard error, from `info` on unless `VYR_LOG` says otherwise; as text, or with
/// `VYR_LOG_FORMAT=json` one JSON object a line.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("VYR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    if std::env::var("VYR_LOG_FORMAT").is_ok_and(|format| format == "json") {
        subscriber.json().flatten_event(true).init();
    } else {
        subscriber.with_ansi(io::stderr().is_terminal()).init();
    }
}

/// Prints a document as JSON.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, document).map_err(io::Error::from)?;
    writeln!(stdout)?;
    Ok(())
}

/// Prints rows below their headings, each column as wide as it needs to be.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut stdout = io::stdout().lock();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(stdout, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints what something is, a line each.
pub(crate) fn facts(rows: &[(&str, String)]) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut stdout = io::stdout().lock();
    for (name, value) in rows {
        let value = value.replace('\n', &format!("\n{:width$}  ", ""));
        writeln!(stdout, "{name:<width$}  {value}")?;
    }
    Ok(())
}

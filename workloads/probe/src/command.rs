//! The command: its first argument says what to do.

use crate::bindings::wasi::cli0_2_0::environment::get_arguments;
use crate::bindings::wasi::cli0_2_0::stderr::get_stderr;
use crate::bindings::wasi::cli0_2_0::stdin::get_stdin;
use crate::bindings::wasi::cli0_2_0::stdout::get_stdout;
use crate::bindings::wasi::cli0_2_12::exit::exit_with_code;
use crate::bindings::wasi::io::streams::StreamError;
use crate::fetch::{Call, fetch};
use crate::{limits, output, streams};

const USAGE: &str = "usage: probe echo | upper | count-lines | args … | env | exit N | stderr TEXT | \
sleep MS | read-none [MS] | spin | trap | panic | grow BYTES | flood BYTES | stack-overflow | \
fetch URL\n";

const EXIT_USAGE: u8 = 2;

/// Why a command ended without success.
enum Failure {
    /// The arguments make no sense.
    Usage,
    /// A standard stream failed.
    Stream,
}

impl From<StreamError> for Failure {
    fn from(_: StreamError) -> Self {
        Self::Stream
    }
}

/// Does what the first argument says. An unknown word prints the usage and exits with 2.
pub(crate) fn run() -> Result<(), ()> {
    let arguments = get_arguments();
    let word = arguments.get(1).map_or("", String::as_str);
    let rest = arguments.get(2..).unwrap_or_default();
    match dispatch(word, rest) {
        Ok(()) => Ok(()),
        Err(Failure::Stream) => Err(()),
        Err(Failure::Usage) => {
            let _ = print_error(USAGE);
            exit_with_code(EXIT_USAGE);
            Err(())
        }
    }
}

fn dispatch(word: &str, rest: &[String]) -> Result<(), Failure> {
    match word {
        "echo" => pass_through(|_| ()),
        "upper" => pass_through(<[u8]>::make_ascii_uppercase),
        "count-lines" => count_lines(),
        "args" => print(&rest.iter().map(|argument| format!("{argument}\n")).collect::<String>()),
        "env" => print(&output::environment()),
        "exit" => {
            exit_with_code(number(rest)?);
            Ok(())
        }
        "stderr" => print_error(&format!("{}\n", rest.join(" "))),
        "sleep" => {
            let duration_ms = number(rest)?;
            output::sleep(duration_ms);
            print(&format!("slept {duration_ms} ms\n"))
        }
        "read-none" => {
            output::sleep(if rest.is_empty() { 1000 } else { number(rest)? });
            print("read nothing\n")
        }
        "spin" => limits::spin_forever(),
        "trap" => {
            let depth = limits::trap_outer(0);
            print(&format!("trapped at depth {depth}\n"))
        }
        "panic" => {
            limits::panic_on_purpose();
            Ok(())
        }
        "grow" => {
            let wanted_bytes = number(rest)?;
            let got_bytes = limits::grow(wanted_bytes);
            print(&format!("grew {got_bytes} of {wanted_bytes} bytes\n"))
        }
        "flood" => {
            let length_bytes = number(rest)?;
            let stdout = get_stdout();
            output::flood(&stdout, length_bytes)?;
            Ok(streams::flush(&stdout)?)
        }
        "stack-overflow" => {
            let depth = limits::overflow_stack(0);
            print(&format!("came back from depth {depth}\n"))
        }
        "fetch" => {
            let call = Call {
                url: rest.first().ok_or(Failure::Usage)?,
                first_byte_ms_max: None,
                upload_bytes: None,
            };
            let answer = fetch(&call).unwrap_or_else(|error| format!("error: {error}"));
            print(&format!("{answer}\n"))
        }
        _ => Err(Failure::Usage),
    }
}

/// Copies standard input to standard output, chunk by chunk.
fn pass_through(change: impl Fn(&mut [u8])) -> Result<(), Failure> {
    let (stdin, stdout) = (get_stdin(), get_stdout());
    while let Some(mut chunk) = streams::read(&stdin)? {
        change(&mut chunk);
        streams::write_all(&stdout, &chunk)?;
        stdout.flush()?;
    }
    Ok(streams::flush(&stdout)?)
}

/// Counts line ends; a last line without an end counts as well.
fn count_lines() -> Result<(), Failure> {
    let stdin = get_stdin();
    let (mut lines, mut last) = (0_u64, b'\n');
    while let Some(chunk) = streams::read(&stdin)? {
        lines += chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        last = chunk.last().copied().unwrap_or(last);
    }
    print(&format!("{}\n", lines + u64::from(last != b'\n')))
}

fn print(text: &str) -> Result<(), Failure> {
    let stdout = get_stdout();
    streams::write_all(&stdout, text.as_bytes())?;
    Ok(streams::flush(&stdout)?)
}

fn print_error(text: &str) -> Result<(), Failure> {
    let stderr = get_stderr();
    streams::write_all(&stderr, text.as_bytes())?;
    Ok(streams::flush(&stderr)?)
}

fn number<T: std::str::FromStr>(rest: &[String]) -> Result<T, Failure> {
    rest.first().and_then(|text| text.parse().ok()).ok_or(Failure::Usage)
}

//! An ordinary Rust program which knows nothing of WebAssembly: it prints its arguments and counts
//! the lines and bytes of its standard input. Built as a preview-1 core module, it tells whether a
//! host wraps those as it should.

use std::io::{self, BufRead};
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("hello from preview 1");
    for (index, argument) in std::env::args().enumerate().skip(1) {
        println!("argument {index}: {argument}");
    }
    match count(io::stdin().lock()) {
        Ok((lines, bytes)) => {
            println!("stdin: {lines} lines, {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("preview1-println: cannot read standard input: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts in a bounded buffer, whatever the length of a line. A last line without an end counts.
fn count(mut input: impl BufRead) -> io::Result<(u64, u64)> {
    let (mut lines, mut bytes, mut last) = (0, 0, b'\n');
    loop {
        let buffer = input.fill_buf()?;
        let Some(&end) = buffer.last() else { break };
        lines += buffer.iter().filter(|&&byte| byte == b'\n').count() as u64;
        last = end;
        let length = buffer.len();
        bytes += length as u64;
        input.consume(length);
    }
    Ok((lines + u64::from(last != b'\n'), bytes))
}

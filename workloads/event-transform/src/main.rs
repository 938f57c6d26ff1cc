//! The transformation as a native program: the measure for what WebAssembly costs. It reads and
//! writes in the same chunks as the component does.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use event_transform::{Transformer, limits};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event-transform: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut transformer = Transformer::new();
    let mut chunk = vec![0; limits::OUTPUT_CHUNK_BYTES];
    loop {
        let length = stdin.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        transformer.push(&chunk[..length], |out| stdout.write_all(out))?;
    }
    transformer.finish(|out| stdout.write_all(out))?;
    stdout.flush()?;
    eprintln!("{}", transformer.counts());
    Ok(())
}

//! `vyr key`.

use std::process::ExitCode;

use vyr_core::artifact::SigningKey;

use crate::arguments::Key;

pub(crate) fn run(command: Key) -> anyhow::Result<ExitCode> {
    match command {
        Key::Generate { out, algorithm } => {
            SigningKey::generate(algorithm)?.write_pair(&out)?;
            eprintln!(
                "sign with '--sign-key {0}', trust with '--trust-key {0}.pub'",
                out.display()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! Ahead-of-time compiled code, kept in a directory of its own beside the store.
//!
//! A file is named by the component's digest and the engine's key (wasmtime version, processor
//! features, settings), so a file that fits neither is never looked at. Its SHA-256 stands in a
//! file beside it and is checked before the code is mapped; what is damaged is compiled again.
//! Compiled code is trusted like a program: the directory belongs to the node's user alone.

#![expect(unsafe_code, reason = "mapping compiled code is unsafe by nature")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vyr_core::digest::Digest;
use wasmtime::component::Component;

use crate::engine::Engine;
use crate::error::Error;

/// Longest time to compile one component. Half a minute is enough for the largest allowed.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);
/// How often a running compiler is looked at.
const COMPILE_POLL: Duration = Duration::from_millis(2);

/// How components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// On the calling thread.
    InProcess,
    /// By this program, called as `PROGRAM compile-artifact WASM OUT`: a compiler that runs out of
    /// memory or time takes no shard with it, and does not share its address space.
    Process(PathBuf),
}

/// The directory of compiled code.
#[derive(Debug, Clone)]
pub struct CompiledCache {
    dir: PathBuf,
    compiler: Compiler,
}

impl CompiledCache {
    /// Opens the directory, making it if needed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path, compiler: Compiler) -> Result<Self, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed("cannot make", dir, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            compiler,
        })
    }

    /// The compiled component, and whether it had to be compiled. Blocks; not for an executor.
    ///
    /// # Errors
    /// [`Error::ArtifactInvalid`] when the component does not compile, [`Error::Compiled`] when the
    /// directory cannot be used.
    pub fn component(
        &self,
        engine: &Engine,
        digest: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<(Component, bool), Error> {
        match self.open_verified(engine, digest) {
            Ok(Some(file)) => match map(engine, &file) {
                Ok(component) => return Ok((component, false)),
                Err(error) => self.warn(engine, digest, &format!("it does not load: {error:#}")),
            },
            Ok(None) => {}
            Err(reason) => self.warn(engine, digest, &reason),
        }
        self.compile(engine, digest, &wasm()?)?;
        let file = self
            .open_verified(engine, digest)
            .map_err(|reason| Error::Compiled { reason })?
            .ok_or_else(|| Error::Compiled {
                reason: "the file vanished after it was written".into(),
            })?;
        let component = map(engine, &file).map_err(|error| Error::Compiled {
            reason: format!("does not load: {error:#}"),
        })?;
        Ok((component, true))
    }

    /// Compiles `wasm` unless a good file is there already. Blocks; not for an executor.
    ///
    /// # Errors
    /// As [`CompiledCache::component`].
    pub fn prepare(&self, engine: &Engine, digest: &Digest, wasm: &[u8]) -> Result<(), Error> {
        match self.open_verified(engine, digest) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(reason) => self.warn(engine, digest, &reason),
        }
        self.compile(engine, digest, wasm)
    }

    /// Forgets the compiled code of a component, in every engine's form.
    pub fn remove(&self, digest: &Digest) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let prefix = format!("{}.", digest.hex());
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                // What cannot be removed now is found damaged or used again later: no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn warn(&self, engine: &Engine, digest: &Digest, reason: &str) {
        let file = self.path(engine, digest);
        tracing::warn!(file = %file.display(), reason, "compiled code is damaged; compiling again");
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.dir
            .join(format!("{}.{:016x}.cwasm", digest.hex(), engine.key()))
    }

    /// The open file when it is there and has its digest. The reason is text: whatever it is, the
    /// remedy is to compile again.
    fn open_verified(&self, engine: &Engine, digest: &Digest) -> Result<Option<File>, String> {
        let path = self.path(engine, digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut expected = String::new();
        File::open(checksum_path(&path))
            .and_then(|file| file.take(128).read_to_string(&mut expected))
            .map_err(|error| format!("its checksum cannot be read: {error}"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        let found = Digest::of(&bytes);
        if expected.trim_end() != found.to_string() {
            return Err(format!(
                "its digest is {found}, not {}",
                expected.trim_end()
            ));
        }
        Ok(Some(file))
    }

    fn compile(&self, engine: &Engine, digest: &Digest, wasm: &[u8]) -> Result<(), Error> {
        let target = self.path(engine, digest);
        let draft = self.draft(&target, "out");
        let result = match &self.compiler {
            Compiler::InProcess => {
                compile(engine, wasm).and_then(|code| write_synced(&draft, &code))
            }
            Compiler::Process(program) => {
                let source = self.draft(&target, "wasm");
                let result =
                    write_synced(&source, wasm).and_then(|()| run(program, &source, &draft));
                let _ = fs::remove_file(&source);
                result
            }
        };
        let result = result.and_then(|()| self.publish(&draft, &target));
        if result.is_err() {
            let _ = fs::remove_file(&draft);
        }
        result
    }

    /// A name that no other compilation uses.
    fn draft(&self, target: &Path, kind: &str) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stem = target.file_name().unwrap_or_default().to_string_lossy();
        self.dir
            .join(format!(".{stem}.{}.{number}.{kind}", std::process::id()))
    }

    /// The checksum goes first: a crash between the two leaves an old file that does not fit it,
    /// which is compiled again.
    fn publish(&self, draft: &Path, target: &Path) -> Result<(), Error> {
        let code = fs::read(draft).map_err(|error| failed("cannot read", draft, error))?;
        let checksum = draft.with_extension("sha256");
        write_synced(&checksum, format!("{}\n", Digest::of(&code)).as_bytes())?;
        fs::rename(&checksum, checksum_path(target))
            .and_then(|()| fs::rename(draft, target))
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|error| failed("cannot write", target, error))
    }
}

fn checksum_path(path: &Path) -> PathBuf {
    path.with_extension("cwasm.sha256")
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::Io {
        what: format!("{what} {}", path.display()),
        error,
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|error| failed("cannot write", path, error))
}

fn compile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, Error> {
    engine.wasmtime.precompile_component(wasm).map_err(|error| {
        Error::ArtifactInvalid(format!("the component does not compile: {error:#}"))
    })
}

/// The compiler process: compiles the component in `wasm` into `out`.
///
/// # Errors
/// As [`CompiledCache::component`].
pub fn compile_file(wasm: &Path, out: &Path) -> Result<(), Error> {
    let engine = Engine::for_compiling()?;
    let bytes = fs::read(wasm).map_err(|error| failed("cannot read", wasm, error))?;
    write_synced(out, &compile(&engine, &bytes)?)
}

/// Runs the compiler process and waits for it within its time.
fn run(program: &Path, wasm: &Path, out: &Path) -> Result<(), Error> {
    let mut child = Command::new(program)
        .arg("compile-artifact")
        .args([wasm, out])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("cannot run the compiler", program, error))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < COMPILE_TIME_MAX => std::thread::sleep(COMPILE_POLL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::ArtifactInvalid(format!(
                    "the component takes longer than {} s to compile; make it smaller",
                    COMPILE_TIME_MAX.as_secs()
                )));
            }
            Err(error) => return Err(failed("cannot wait for the compiler", program, error)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut message = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(8192).read_to_string(&mut message);
    }
    Err(Error::ArtifactInvalid(match status.code() {
        Some(_) => message.trim().trim_start_matches("error: ").to_owned(),
        None => {
            format!("the compiler ended by {status}; the component is too large for this machine")
        }
    }))
}

/// Maps verified compiled code by its open file, so that the bytes checked are the bytes mapped.
fn map(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file holds what `precompile_component` wrote for an engine with this key: its
    // digest was just checked through the same open file, and only the node's user can write it.
    unsafe { Component::deserialize_file(&engine.wasmtime, path) }
}

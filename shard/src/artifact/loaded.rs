//! Artifacts that are ready to be instantiated, and the shard's bounded set of them.
//!
//! Loading verifies everything anew: digests, the signature, the compiled code. It happens off the
//! executor; tasks of the same artifact that arrive meanwhile wait for the same load.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::OnceCell;
use vyr_core::artifact::{HostPattern, Manifest, Store, TrustKeys};
use vyr_core::digest::{Digest, DigestMap};
use vyr_core::limits::{ShardLimits, TaskLimits};
use vyr_core::task::Kind;
use wasmtime::component::{InstancePre, Linker};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::compiled::CompiledCache;
use super::inspect::inspect;
use crate::engine::Engine;
use crate::error::Error;
use crate::guest::{Config, Guest, IdleCount, IdleInstances, linker};
use crate::rt;

/// An artifact ready to be instantiated.
pub(crate) struct Loaded {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) limits: TaskLimits,
    /// The hosts that its guest may call if the node permits them.
    pub(crate) hosts: Arc<[HostPattern]>,
    /// Its settings.
    pub(crate) config: Config,
    command: Option<CommandPre<Guest>>,
    http: Option<ProxyPre<Guest>>,
    /// Instances that wait for their next HTTP task.
    pub(crate) idle: IdleInstances,
}

impl Loaded {
    fn new(
        digest: Digest,
        manifest: Manifest,
        limits: TaskLimits,
        pre: InstancePre<Guest>,
        idle_count: &Rc<IdleCount>,
    ) -> Self {
        let idle = IdleInstances::new(manifest.instances, idle_count);
        let command = CommandPre::new(pre.clone()).ok();
        let http = ProxyPre::new(pre).ok();
        Self {
            digest,
            hosts: manifest.capabilities.host_patterns().collect(),
            config: Arc::new(manifest.config.clone()),
            manifest,
            limits,
            command,
            http,
            idle,
        }
    }

    pub(crate) fn command(&self) -> Result<&CommandPre<Guest>, Error> {
        self.command
            .as_ref()
            .ok_or_else(|| self.lacks("'wasi:cli/run@0.2.x' (a command)"))
    }

    pub(crate) fn http(&self) -> Result<&ProxyPre<Guest>, Error> {
        self.http
            .as_ref()
            .ok_or_else(|| self.lacks("'wasi:http/incoming-handler@0.2.x' (HTTP)"))
    }

    fn lacks(&self, needs: &'static str) -> Error {
        let kinds = [
            (Kind::Command, self.command.is_some()),
            (Kind::Http, self.http.is_some()),
        ];
        let has: Vec<_> = kinds
            .iter()
            .filter(|(_, has)| *has)
            .map(|(kind, _)| kind.as_str())
            .collect();
        Error::KindUnsupported {
            needs,
            has: has.join(" and "),
        }
    }
}

/// What loading needs from elsewhere; goes to a helper thread as a whole.
#[derive(Clone)]
struct Sources {
    engine: Engine,
    linker: Arc<Linker<Guest>>,
    store: Arc<Store>,
    trust_keys: Arc<TrustKeys>,
    compiled: CompiledCache,
}

/// Checks that a component can run before it is stored. Its calls block: for a helper thread.
#[derive(Clone)]
pub struct Preparer(Sources);

impl Preparer {
    /// Compiles and links a component, and keeps its compiled form.
    ///
    /// # Errors
    /// [`Error::ArtifactInvalid`] with the reason.
    pub fn prepare(&self, component: Vec<u8>) -> Result<(), Error> {
        let digest = Digest::of(&component);
        self.0.link(&digest, || Ok(component)).map(drop)
    }
}

/// Loads artifacts and keeps the most recently used.
pub(crate) struct Loader {
    sources: Sources,
    cap: TaskLimits,
    loaded_max: usize,
    cells: RefCell<DigestMap<Entry>>,
    clock: std::cell::Cell<u64>,
    idle_count: Rc<IdleCount>,
}

struct Entry {
    cell: Rc<OnceCell<Rc<Loaded>>>,
    used: u64,
}

impl Loader {
    pub(crate) fn new(
        engine: Engine,
        store: Arc<Store>,
        trust_keys: Arc<TrustKeys>,
        compiled: CompiledCache,
        cap: TaskLimits,
        limits: &ShardLimits,
    ) -> Result<Self, Error> {
        let linker = Arc::new(linker(&engine)?);
        let sources = Sources {
            engine,
            linker,
            store,
            trust_keys,
            compiled,
        };
        Ok(Self {
            sources,
            cap,
            loaded_max: limits.loaded_artifacts_max,
            cells: RefCell::default(),
            clock: std::cell::Cell::new(0),
            idle_count: IdleCount::new(limits.idle_instances_max),
        })
    }

    /// The artifact, and whether it had to be loaded for this call.
    pub(crate) async fn load(&self, digest: &Digest) -> Result<(Rc<Loaded>, bool), Error> {
        let cell = self.cell(digest);
        if let Some(loaded) = cell.get() {
            return Ok((Rc::clone(loaded), false));
        }
        let load = async || {
            let (sources, digest) = (self.sources.clone(), *digest);
            let (manifest, pre) = rt::unblock(move || sources.load(&digest)).await?;
            Ok::<_, Error>(self.ready(digest, manifest, pre))
        };
        let result = cell.get_or_try_init(load).await.cloned();
        if result.is_err() {
            self.forget(digest);
        }
        result.map(|loaded| (loaded, true))
    }

    /// Makes a component runnable that is in no store, under its own digest.
    pub(crate) async fn adopt(
        &self,
        component: Vec<u8>,
        manifest: Manifest,
    ) -> Result<Digest, Error> {
        let digest = Digest::of(&component);
        let cell = self.cell(&digest);
        let load = async || {
            let sources = self.sources.clone();
            let pre = rt::unblock(move || sources.link(&digest, || Ok(component))).await?;
            Ok::<_, Error>(self.ready(digest, manifest, pre))
        };
        cell.get_or_try_init(load).await.map(|_| digest)
    }

    /// Drops what is loaded of an artifact; running tasks keep theirs.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.cells.borrow_mut().remove(digest);
    }

    /// Ends instances that have waited too long for a task.
    pub(crate) fn end_old_instances(&self) {
        for entry in self.cells.borrow().values() {
            if let Some(loaded) = entry.cell.get() {
                loaded.idle.end_old();
            }
        }
    }

    /// Instances that wait for a task.
    pub(crate) fn idle_instances(&self) -> usize {
        self.idle_count.get()
    }

    pub(crate) fn preparer(&self) -> Preparer {
        Preparer(self.sources.clone())
    }

    fn ready(&self, digest: Digest, manifest: Manifest, pre: InstancePre<Guest>) -> Rc<Loaded> {
        let limits = manifest
            .limits
            .over(&TaskLimits::DEFAULT)
            .capped_by(&self.cap);
        Rc::new(Loaded::new(digest, manifest, limits, pre, &self.idle_count))
    }

    fn cell(&self, digest: &Digest) -> Rc<OnceCell<Rc<Loaded>>> {
        self.clock.set(self.clock.get() + 1);
        let mut cells = self.cells.borrow_mut();
        if let Some(entry) = cells.get_mut(digest) {
            entry.used = self.clock.get();
            return Rc::clone(&entry.cell);
        }
        if cells.len() >= self.loaded_max {
            let oldest = cells
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(digest, _)| *digest);
            oldest.and_then(|digest| cells.remove(&digest));
        }
        let cell = Rc::default();
        cells.insert(
            *digest,
            Entry {
                cell: Rc::clone(&cell),
                used: self.clock.get(),
            },
        );
        cell
    }
}

impl Sources {
    fn load(&self, digest: &Digest) -> Result<(Manifest, InstancePre<Guest>), Error> {
        let artifact = self.store.get(digest)?;
        artifact.check_trust(&self.trust_keys)?;
        // Read even when compiled code is there: a byte that flipped in the component on disk is
        // found before anything of it runs.
        let wasm = self.store.wasm(&artifact)?;
        let component = inspect(&wasm)?.component.into_owned();
        let pre = self.link(&Digest::of(&component), || Ok(component))?;
        Ok((artifact.manifest, pre))
    }

    fn link(
        &self,
        digest: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<InstancePre<Guest>, Error> {
        let (component, _) = self.compiled.component(&self.engine, digest, wasm)?;
        self.linker.instantiate_pre(&component).map_err(|error| {
            Error::ArtifactInvalid(format!(
                "the component does not fit VYR's interfaces: {error:#}; build it with WASI 0.2"
            ))
        })
    }
}

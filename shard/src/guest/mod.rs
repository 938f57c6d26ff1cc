//! The host side of one guest: what a task's store holds and which interfaces it offers.

mod bindings;
mod body;
mod config;
mod control;
mod instance;
mod keyvalue;
mod log;
mod memory;
mod outgoing;
mod pipe;
mod stdio;
mod telemetry;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::Store;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_io::bindings::wasi::io;

pub(crate) use control::{Control, Ended, Guarded, Slice, Stop};
pub(crate) use instance::{HttpInstance, IdleCount, IdleInstances};
pub(crate) use log::Log;
use memory::Memory;
pub use pipe::{Pipe, PipeEnd};
pub(crate) use stdio::{Input, Kept, Output};

use crate::engine::Engine;
use crate::error::Error;
use crate::rt;
use crate::state::{Bound, SharedStates};
use crate::steps::{Steps, Subject};
pub(crate) use config::Config;
use keyvalue::Buckets;
pub(crate) use outgoing::Client;
use outgoing::Outgoing;
use telemetry::{Export, Telemetry};
use vyr_core::artifact::HostPattern;
use vyr_core::digest::Digest;
use vyr_core::limits::{GUEST_CALL_BYTES_MAX, TaskLimits};

/// Handles that a guest holds at the same time: of streams, requests, buckets and whatever else.
const RESOURCES_MAX: usize = 1 << 14;

thread_local! {
    /// A store can be sent in wasmtime's eyes, so it cannot hold the shard's own counter.
    static EPOCH_YIELDS: Cell<u64> = const { Cell::new(0) };
}

/// How often computing guests of this thread's shard gave way to the others.
pub(crate) fn epoch_yields() -> u64 {
    EPOCH_YIELDS.get()
}

/// The data of one task's store.
pub(crate) struct Guest {
    /// An HTTP guest's is made when it first asks for it: it is not small, and most
    /// such guests only use [`Guest::table`] of WASI.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    buckets: Buckets,
    config: Config,
    memory: Memory,
    log: Log,
    telemetry: Telemetry,
    control: Arc<Control>,
}

impl Guest {
    /// Connects the guest with its next task.
    fn attach(
        &mut self,
        limits: &TaskLimits,
        control: &Arc<Control>,
        log: &Arc<Kept>,
        bound: Vec<(String, Bound)>,
        subject: Subject,
    ) {
        self.buckets.attach(bound);
        self.outgoing.attach(subject);
        self.memory.attach(limits, Arc::clone(control));
        self.log.attach(Arc::clone(log), subject);
        self.telemetry.attach(subject);
        self.control = Arc::clone(control);
    }

    /// The task is over. Whatever handles the guest keeps, nothing of the task is behind them.
    fn detach(&mut self) {
        self.buckets.detach();
        self.outgoing.detach();
        self.log.end();
    }
}

/// What a guest is connected to.
pub(crate) struct Wiring<'a> {
    /// What a command is started with; an HTTP guest has none of it.
    pub(crate) standard: Option<Standard<'a>>,
    pub(crate) log: Arc<Kept>,
    pub(crate) states: Rc<SharedStates>,
    pub(crate) bound: Vec<(String, Bound)>,
    pub(crate) client: Rc<Client>,
    pub(crate) artifact: Digest,
    /// The hosts that the artifact's manifest names.
    pub(crate) hosts: Arc<[HostPattern]>,
    pub(crate) steps: Rc<Steps>,
    pub(crate) subject: Subject,
    pub(crate) config: Config,
}

/// Arguments, environment and standard streams of a command.
pub(crate) struct Standard<'a> {
    pub(crate) arguments: &'a [String],
    pub(crate) environment: &'a [(String, String)],
    pub(crate) input: Input,
    /// `None` when it goes to the log.
    pub(crate) output: Option<Output>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = &self.log;
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi(None, log)),
            table: &mut self.table,
        }
    }
}

/// Reaches a guest's handles without its WASI context, which streams and pollables do not need.
struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.outgoing.set_parent(self.telemetry.current());
        WasiHttpCtxView {
            hooks: &mut self.outgoing,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// A linker with every interface VYR offers.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Guest>, Error> {
    let mut linker = Linker::new(&engine.wasmtime);
    linker.allow_shadowing(true);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| io::error::add_to_linker::<_, Handles>(&mut linker, handles))
        .and_then(|()| io::poll::add_to_linker::<_, Handles>(&mut linker, handles))
        .and_then(|()| io::streams::add_to_linker::<_, Handles>(&mut linker, handles))
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .and_then(|()| body::add_to_linker(&mut linker))
        .and_then(|()| drop_streams_at_once(&mut linker))
        .and_then(|()| keyvalue::add_to_linker(&mut linker))
        .and_then(|()| config::add_to_linker(&mut linker))
        .and_then(|()| telemetry::add_to_linker(&mut linker))
        .map_err(|error| Error::Engine {
            reason: format!("{error:#}"),
        })?;
    Ok(linker)
}

/// wasmtime waits for streams to cancel what they do before it drops them. Only those of files and sockets have
/// anything to cancel, which guests do not get here; for all others that is three futures on the heap for nothing.
fn drop_streams_at_once(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    let output = ResourceType::host::<DynOutputStream>();
    streams.resource("output-stream", output, |mut store, handle| {
        let stream = Resource::<DynOutputStream>::new_own(handle);
        store.data_mut().table.delete(stream)?;
        Ok(())
    })?;
    let input = ResourceType::host::<DynInputStream>();
    streams.resource("input-stream", input, |mut store, handle| {
        let stream = Resource::<DynInputStream>::new_own(handle);
        store.data_mut().table.delete(stream)?;
        Ok(())
    })
}

/// A lock of one shard: what a panic left behind it is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handles(guest: &mut Guest) -> &mut ResourceTable {
    &mut guest.table
}

fn resource_table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    table
}

/// A WASI context without files and sockets; what it has no other place for goes to the log.
fn wasi(standard: Option<Standard<'_>>, log: &Log) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(Output::Log(log.clone()))
        .stderr(Output::Log(log.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(standard) = standard {
        wasi.args(standard.arguments)
            .envs(standard.environment)
            .stdin(standard.input);
        if let Some(output) = standard.output {
            wasi.stdout(output);
        }
    }
    wasi.build()
}

/// A store for one task, under its limits.
pub(crate) fn store(
    engine: &Engine,
    wiring: Wiring<'_>,
    limits: &TaskLimits,
    control: &Arc<Control>,
) -> Store<Guest> {
    let log = Log::exporting(wiring.log, Export::of(&wiring.steps, wiring.subject));
    let standard = wiring.standard;
    let guest = Guest {
        wasi: standard.map(|standard| wasi(Some(standard), &log)),
        http: WasiHttpCtx::new(),
        table: resource_table(),
        outgoing: Outgoing::new(
            wiring.client,
            wiring.artifact,
            wiring.hosts,
            log.clone(),
            Rc::clone(&wiring.steps),
            wiring.subject,
        ),
        telemetry: Telemetry::new(wiring.steps, wiring.subject, log.clone()),
        config: wiring.config,
        buckets: Buckets::new(wiring.states, wiring.bound),
        memory: Memory::new(limits, Arc::clone(control)),
        log,
        control: Arc::clone(control),
    };
    let mut store = Store::new(&engine.wasmtime, guest);
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(GUEST_CALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        if !context.data().control.check_slice()? {
            return Ok(wasmtime::UpdateDeadline::Continue(1));
        }
        EPOCH_YIELDS.set(EPOCH_YIELDS.get() + 1);
        Ok(wasmtime::UpdateDeadline::YieldCustom(
            1,
            Box::pin(rt::yield_to_io()),
        ))
    });
    store
}

//! The host side of one guest: what a task's store holds and which interfaces it offers.

mod control;
mod http;
mod memory;
mod pipe;
mod stdio;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub(crate) use control::{Control, Ended, Guarded, Stop};
use memory::Memory;
pub use pipe::{Pipe, PipeEnd};
pub(crate) use stdio::{Input, Kept, Output};

use crate::engine::Engine;
use crate::error::Error;
use crate::rt;
use http::Outgoing;
use vyr_core::limits::TaskLimits;

/// The data of one task's store.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    memory: Memory,
}

/// What a guest is connected to.
pub(crate) struct Wiring<'a> {
    pub(crate) arguments: &'a [String],
    pub(crate) environment: &'a [(String, String)],
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) log: Arc<Kept>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
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
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .map_err(|error| Error::Engine {
            reason: format!("{error:#}"),
        })?;
    Ok(linker)
}

/// A store for one task, under its limits.
pub(crate) fn store(
    engine: &Engine,
    wiring: Wiring<'_>,
    limits: &TaskLimits,
    control: &Arc<Control>,
) -> Store<Guest> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(wiring.arguments)
        .envs(wiring.environment)
        .stdin(wiring.input)
        .stdout(wiring.output)
        .stderr(Output::Log(wiring.log))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    let guest = Guest {
        wasi: wasi.build(),
        http: WasiHttpCtx::new(),
        table: ResourceTable::new(),
        outgoing: Outgoing,
        memory: Memory::new(limits, Arc::clone(control)),
    };
    let mut store = Store::new(&engine.wasmtime, guest);
    store.limiter(|guest| &mut guest.memory);
    store.set_epoch_deadline(1);
    let control = Arc::clone(control);
    store.epoch_deadline_callback(move |_| {
        control.check_slice()?;
        Ok(wasmtime::UpdateDeadline::YieldCustom(
            1,
            Box::pin(rt::yield_to_io()),
        ))
    });
    store
}

//! The drafts' interfaces as Rust traits, made from `shard/wit`. No function waits, so none is asynchronous.

wasmtime::component::bindgen!({
    path: "wit",
    world: "vyr:host/telemetry",
    imports: { default: trappable },
});

//! The drafts' interfaces as Rust traits, made from `shard/wit`: state and settings.

wasmtime::component::bindgen!({
    path: "wit",
    world: "vyr:host/guest",
    imports: { default: async | trappable },
    with: {
        "wasi:keyvalue/store@0.2.0-draft.bucket": super::keyvalue::buckets::Bucket,
        "wasi:keyvalue/store@0.2.0-draft2.bucket": super::keyvalue::buckets::Bucket,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas": super::keyvalue::buckets::Cas,
    },
    trappable_error_type: {
        "wasi:keyvalue/store@0.2.0-draft.error" => super::keyvalue::buckets::BucketError,
        "wasi:keyvalue/store@0.2.0-draft2.error" => super::keyvalue::buckets::BucketError,
    },
});

//! The one wasmtime engine of a shard: pooling allocator, copy-on-write images, epochs.
//!
//! Everything that decides whether a compiled file fits an engine is set in [`code_config`], which
//! the compiler (another process) and the shard share; [`Engine::for_running`] adds only what
//! concerns running.

use std::hash::{Hash, Hasher};

use vyr_core::limits::{ShardLimits, TaskLimits};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::Error;

/// Reserved address space per memory slot, and so the largest memory that any node can grant, bytes.
pub(crate) const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;
/// Memory kept resident in a free slot instead of being given back, bytes. With `PAGEMAP_SCAN` only
/// pages that a guest wrote are cleared, so a large value costs nothing until it is used.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;
/// Stack of one guest's fiber, bytes.
const FIBER_STACK_BYTES: usize = 1 << 20;
/// Part of the fiber's stack that the guest may use, bytes; the rest is for host calls.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Frames of a trap's backtrace.
const BACKTRACE_FRAMES_MAX: usize = 32;
/// Core instances of the average running component that the pool has room for. Components made by
/// language tool chains hold a dozen or two; most hold one to three.
const CORE_INSTANCES_PER_TASK: u32 = 8;
/// Memories in one component.
const MEMORIES_PER_COMPONENT: u32 = 16;
/// Tables in one component.
const TABLES_PER_COMPONENT: u32 = 64;

/// A wasmtime engine with VYR's settings.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    key: u64,
    instances_max: i64,
}

impl Engine {
    /// An engine that runs tasks within `limits`.
    ///
    /// # Errors
    /// When the address space for the pool cannot be reserved.
    pub fn for_running(limits: &ShardLimits, cap: &TaskLimits) -> Result<Self, Error> {
        let tasks = limits.running_max.saturating_add(limits.idle_instances_max);
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        let instances_max = u32::try_from(cap.instances_max).unwrap_or(u32::MAX);
        let mut pool = PoolingAllocationConfig::new();
        let keep_resident = if has_pagemap_scan() {
            KEEP_RESIDENT_BYTES
        } else {
            // Without the scan, kept pages are cleared by hand on each reuse.
            64 << 10
        };
        pool.total_component_instances(tasks)
            .total_core_instances(
                tasks
                    .saturating_mul(CORE_INSTANCES_PER_TASK)
                    .max(instances_max),
            )
            .total_memories(tasks.saturating_mul(2).max(MEMORIES_PER_COMPONENT))
            .total_tables(tasks.saturating_mul(4).max(TABLES_PER_COMPONENT))
            .total_stacks(tasks)
            .max_core_instances_per_component(instances_max)
            .max_memories_per_component(MEMORIES_PER_COMPONENT)
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20)
            .table_elements(usize::try_from(cap.table_elements_max).unwrap_or(usize::MAX))
            .max_memory_size(
                usize::try_from(cap.memory_bytes_max.min(MEMORY_RESERVATION_BYTES))
                    .unwrap_or(usize::MAX),
            )
            .linear_memory_keep_resident(keep_resident)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10)
            .pagemap_scan(if has_pagemap_scan() {
                Enabled::Yes
            } else {
                Enabled::No
            });
        let mut config = code_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Self::new(&config, tasks)
    }

    /// An engine that only compiles and inspects.
    ///
    /// # Errors
    /// When this machine's processor is not one that the compiler knows.
    pub fn for_compiling() -> Result<Self, Error> {
        Self::new(&code_config(), 0)
    }

    fn new(config: &Config, instances_max: u32) -> Result<Self, Error> {
        let wasmtime = wasmtime::Engine::new(config).map_err(|error| Error::Engine {
            reason: format!("{error:#}"),
        })?;
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        let key = hasher.finish();
        Ok(Self {
            wasmtime,
            key,
            instances_max: instances_max.into(),
        })
    }

    /// Instances in the pool, and how many it has room for; nothing of an engine that only compiles.
    pub(crate) fn instances(&self) -> (i64, i64) {
        let live = self.wasmtime.pooling_allocator_metrics();
        let live = live.map_or(0, |pool| pool.component_instances());
        (i64::try_from(live).unwrap_or(i64::MAX), self.instances_max)
    }

    /// Names what compiled code depends on besides the Wasm itself: wasmtime's version, the
    /// processor's features and the settings of the compiler.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }
}

fn code_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .generate_address_map(true)
        .cranelift_opt_level(wasmtime::OptLevel::Speed);
    config
}

/// Whether the kernel has `PAGEMAP_SCAN`, which came with Linux 6.7.
#[must_use]
fn has_pagemap_scan() -> bool {
    let release = rustix::system::uname();
    let mut numbers = release
        .release()
        .to_str()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

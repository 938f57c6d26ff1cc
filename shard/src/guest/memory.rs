//! Counts a guest's linear memories and tables and refuses what exceeds its limits.

use std::sync::Arc;

use vyr_core::limits::TaskLimits;
use wasmtime::ResourceLimiter;

use super::control::Control;

/// The limiter of one task.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: u64,
    bytes_max: u64,
    elements: u64,
    elements_max: u64,
    instances_max: usize,
    control: Arc<Control>,
}

impl Memory {
    pub(crate) fn new(limits: &TaskLimits, control: Arc<Control>) -> Self {
        Self {
            bytes: 0,
            bytes_max: limits.memory_bytes_max,
            elements: 0,
            elements_max: limits.table_elements_max,
            instances_max: usize::try_from(limits.instances_max).unwrap_or(usize::MAX),
            control,
        }
    }

    /// Goes on under the limits of the instance's next task, which begins with what there is.
    pub(crate) fn attach(&mut self, limits: &TaskLimits, control: Arc<Control>) {
        self.bytes_max = limits.memory_bytes_max;
        self.elements_max = limits.table_elements_max;
        control.set_memory(self.bytes, true);
        self.control = control;
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = self.bytes - current as u64 + desired as u64;
        if sum > self.bytes_max {
            self.control.set_memory(sum, false);
            return Ok(false);
        }
        // Memory is never given back before the task ends, so the present sum is the peak.
        self.bytes = sum;
        self.control.set_memory(sum, true);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = self.elements - current as u64 + desired as u64;
        if sum > self.elements_max {
            return Ok(false);
        }
        self.elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max.saturating_mul(4)
    }
}

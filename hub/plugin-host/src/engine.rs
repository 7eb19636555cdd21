//! The one wasmtime engine: its settings, and the clock that interrupts guests.

use std::time::Duration;

use throughline_domain::connector::PluginError;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::options::{HostOptions, Limits};

/// How often a running guest gives way; also how far it can overrun a limit.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Memory pages that an ended instance leaves resident for the next one in its slot.
const KEEP_RESIDENT: usize = 64 * 1024;

/// Builds the engine and starts its ticker, which ends with the engine.
pub(crate) fn new(options: &HostOptions) -> Result<Engine, PluginError> {
    let engine = Engine::new(&config(&options.limits, options.max_instances))
        .map_err(|error| PluginError::Internal(format!("the WebAssembly engine does not start: {error:#}")))?;
    start_ticker(&engine)?;
    Ok(engine)
}

fn config(limits: &Limits, max_instances: u32) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Guests are synchronous and our imports suspend their fiber: the component model's own async costs more and is young.
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .memory_reservation(limits.max_memory_bytes() as u64)
        .memory_may_move(false)
        .wasm_memory64(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, max_instances)));
    config
}

fn pool(limits: &Limits, max_instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        // A component of wit-component's making is its module, a shim and a fix-up; guests with an adapter have some more.
        .total_core_instances(max_instances.saturating_mul(8))
        .max_core_instances_per_component(64)
        .total_memories(max_instances.saturating_add(8))
        .max_memories_per_component(2)
        .total_tables(max_instances.saturating_mul(4))
        .max_tables_per_component(16)
        .table_elements(65_536)
        .total_stacks(max_instances.saturating_add(8))
        .max_memory_size(limits.max_memory_bytes())
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_RESIDENT);
    pool
}

fn start_ticker(engine: &Engine) -> Result<(), PluginError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("guest-ticker".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map(drop)
        .map_err(|error| PluginError::Internal(format!("the guests' ticker does not start: {error}")))
}

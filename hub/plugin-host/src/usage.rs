//! What the guests of a connection used up: for the kit's report, and free of locks because every call notes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sums over all calls of a connection's instances.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    peak_memory: AtomicU64,
    cpu_nanos: AtomicU64,
    calls: AtomicU64,
}

impl Usage {
    /// Notes a call that has ended: the instance's memory, which never shrinks, and the CPU time of the call.
    pub(crate) fn note(&self, memory: usize, cpu: Duration) {
        self.peak_memory.fetch_max(u64::try_from(memory).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.cpu_nanos.fetch_add(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The most memory an instance had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Ordering::Relaxed)
    }

    /// CPU time of all calls.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

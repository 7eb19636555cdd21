//! The hub's own state.

use crate::hub::Hub;
use crate::metrics::{Metric, MetricKind};
use crate::views::Readiness;

impl Hub {
    /// Whether the hub can serve: the store takes commits and nothing is shutting down.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.inner.stopping.get() {
            reasons.push("the hub is shutting down".to_owned());
        }
        if let Some(problem) = self.inner.store.failure() {
            reasons.push(problem);
        }
        if let Some(full) = self.inner.store.out_of_room() {
            reasons.push(full.to_string());
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    /// All numbers, as they are now.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let stats = self.inner.store.stats().unwrap_or_default();
        let gauge = |name, help, value| Metric { name, help, kind: MetricKind::Gauge, labels: Vec::new(), value };
        let counter = |name, help, value| Metric { name, help, kind: MetricKind::Counter, labels: Vec::new(), value };
        let mut metrics = vec![
            gauge("throughline_log_head", "Sequence of the last durable entry of the change log", self.head() as f64),
            counter("throughline_store_commits_total", "Commits applied", stats.commits as f64),
            counter("throughline_store_batches_total", "Groups of commits made durable at once", stats.batches as f64),
            counter("throughline_store_bytes_total", "Bytes of keys and values committed", stats.bytes as f64),
            gauge("throughline_store_disk_bytes", "Size of the store on disk", stats.disk_bytes as f64),
        ];
        metrics.extend(self.inner.counters.snapshot());
        metrics
    }
}

//! Counters of the hub, with stable names.

use std::collections::BTreeMap;
use std::sync::Mutex;

use throughline_schemas::ConnectionId;

/// What kind of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// `throughline_…`, with its unit.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What kind.
    pub kind: MetricKind,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// What is counted for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    Accepted,
    Duplicates,
    Rejected,
    Written,
    Sent,
    DeliveryFailures,
    Restarts,
}

impl Counter {
    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Accepted => ("throughline_items_accepted_total", "Items durably accepted from a connection"),
            Self::Duplicates => ("throughline_items_duplicate_total", "Items that had been accepted before"),
            Self::Rejected => ("throughline_items_rejected_total", "Items that went to the dead letters"),
            Self::Written => ("throughline_records_written_total", "Records written to a silo"),
            Self::Sent => ("throughline_messages_sent_total", "Messages sent through a silo"),
            Self::DeliveryFailures => ("throughline_delivery_failures_total", "Failed attempts to write or send"),
            Self::Restarts => ("throughline_listener_restarts_total", "Times a listener ended and was started again"),
        }
    }
}

/// All counters. A plain mutex: held for one addition, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    values: Mutex<BTreeMap<(Counter, ConnectionId), u64>>,
}

impl Counters {
    pub(crate) fn add(&self, counter: Counter, connection: ConnectionId, count: u64) {
        if count > 0 {
            let mut values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *values.entry((counter, connection)).or_default() += count;
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<Metric> {
        let values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        values
            .iter()
            .map(|((counter, connection), value)| {
                let (name, help) = counter.describe();
                Metric { name, help, kind: MetricKind::Counter, labels: vec![("connection", connection.to_string())], value: *value as f64 }
            })
            .collect()
    }
}

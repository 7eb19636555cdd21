//! Runs flows: starts them from the change log and by the clock, carries their steps out, keeps their journal.
//!
//! Everything is in the store. Starting a run is committed with the log cursor, a step's effect with its journal entry, so that a crash
//! at any moment neither loses nor doubles one. A step that happens outside (`call`) is noted before it is begun, and asked for again
//! under the same key if its outcome is not known.

mod commands;
mod dry_run;
mod facts;
mod handoffs;
mod history;
mod live;
mod runner;
mod settle;
mod steps;
mod trigger;
mod views;

pub(crate) use handoffs::go_on_after;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use throughline_schemas::{FlowId, RunId, Timestamp};
use tokio::sync::Notify;

pub use views::{
    DryRun, DryRunDifference, DryRunEntry, DryRunReport, DryRunStep, FlowPatch, FlowVersionView, FlowView, NewFlow, RunFilter, RunView,
};

use crate::error::Result;
use crate::hub::Hub;

/// What is kept of flows in memory; all of it can be made anew from the store.
#[derive(Default)]
pub(crate) struct FlowState {
    /// The published versions that triggers start, compiled; none if that has to be read again.
    enabled: RwLock<Option<Arc<Vec<Arc<live::Live>>>>>,
    /// Compiled versions, for runs.
    versions: Mutex<HashMap<(FlowId, u32), Arc<live::Live>>>,
    /// Runs that a task is at.
    active: Mutex<HashSet<RunId>>,
    /// A run was made due.
    due: Notify,
    /// Flows have changed.
    changed: Notify,
    /// The last time that a flow's condition could not be evaluated, and why.
    condition_errors: Mutex<HashMap<FlowId, (Timestamp, String)>>,
}

impl Hub {
    /// Starts following the log and carrying out runs.
    pub(crate) async fn start_flows(&self) -> Result<()> {
        let follower = trigger::Follower::new(self.clone()).await?;
        self.spawn_background(follower.run());
        self.spawn_background(runner::supervise(self.clone()));
        Ok(())
    }

    /// Flows were changed: what is known of them in memory is read again.
    fn flows_changed(&self) {
        *self.inner.flows.enabled.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.inner.flows.changed.notify_one();
    }
}

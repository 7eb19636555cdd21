//! What is asked of flows and what is shown of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_domain::flow::FlowSpec;
use throughline_schemas::{FlowId, RunId, Timestamp};
use throughline_store::tables::{PinnedConnection, RunState, RunStep};

/// A flow to be made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFlow {
    /// For people; unique among flows.
    pub name: String,
    /// What it does. Kept as a draft until it is published.
    #[schemars(with = "FlowSpec")]
    pub spec: Value,
    /// Whether its triggers start it, once it is published.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// What of a flow is to change; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowPatch {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// The whole new draft; what is published stays as it is.
    #[serde(default)]
    #[schemars(with = "Option<FlowSpec>")]
    pub spec: Option<Value>,
    /// Whether its triggers start it. Runs that have begun go on.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// A flow, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowView {
    /// Its id.
    pub id: FlowId,
    /// For people.
    pub name: String,
    /// The draft.
    pub spec: FlowSpec,
    /// The version that runs.
    pub published: Option<u32>,
    /// Whether the draft is something else than that.
    pub has_unpublished_changes: bool,
    /// Whether its triggers start it.
    pub enabled: bool,
    /// Why its condition could not be evaluated the last time that it could not, since the hub was started.
    pub condition_error: Option<String>,
    /// Made.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// A published version, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowVersionView {
    /// Which.
    pub version: u32,
    /// What it does.
    pub spec: FlowSpec,
    /// The connections it calls, as they were.
    pub pins: BTreeMap<String, PinnedConnection>,
    /// When it was published.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: String,
}

/// Which runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those that are so.
    pub state: Option<RunState>,
}

/// A run, as shown. What is personal or secret has been taken out of its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Of which flow.
    pub flow_id: FlowId,
    /// Of which version.
    pub version: u32,
    /// How it is.
    pub state: RunState,
    /// How many flows caused each other up to here, this one included.
    pub depth: u8,
    /// The event that started it, as its id in the change log; none if it was the clock or a request.
    pub event_id: Option<String>,
    /// The type of that event.
    pub event_type: Option<String>,
    /// When it goes on, if it waits.
    pub due: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// Begun.
    pub started_at: Timestamp,
    /// Ended.
    pub finished_at: Option<Timestamp>,
    /// What was done, in order; only in the answer about one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<RunStep>>,
}

/// A dry run over what really happened.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// Over so many of the newest changes, 1 to 500; 100 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub last: Option<usize>,
    /// Which version; the draft if absent.
    #[serde(default)]
    pub version: Option<u32>,
    /// Compare with this version.
    #[serde(default)]
    pub against: Option<u32>,
}

/// What a flow would have done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DryRunReport {
    /// Changes that were looked at.
    pub changes: usize,
    /// Changes that are what starts it.
    pub triggered: usize,
    /// Of these, those that met its condition.
    pub started: usize,
    /// What it would have done, oldest change first.
    pub entries: Vec<DryRunEntry>,
    /// Where the other version would have done something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<DryRunDifference>>,
}

/// What a flow would have done upon one change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DryRunEntry {
    /// The change.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// The steps it would have done. Waits are passed over, and what a step would have given is not known.
    pub steps: Vec<DryRunStep>,
    /// Why it would not have got further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A step that would have been done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DryRunStep {
    /// Its name.
    pub name: String,
    /// What it does.
    pub r#do: String,
    /// With what; personal and secret values taken out.
    pub input: Value,
}

/// Where two versions part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DryRunDifference {
    /// The change.
    pub event_id: String,
    /// What this version would have done; null if it would not have started.
    pub this: Option<DryRunEntry>,
    /// What the other would have done.
    pub other: Option<DryRunEntry>,
}

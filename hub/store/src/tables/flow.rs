//! Flows: what admins configured, its published versions, and the runs with their journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_domain::flow::{FlowSpec, Machine};
use throughline_schemas::{Change, ConnectionId, FlowId, HandoffId, RunId, Timestamp};

use super::{Present, Table, key};

/// A flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// For people; unique among flows.
    pub name: String,
    /// As it is being written; what runs is the published version.
    pub draft: FlowSpec,
    /// Which version runs; none if it was never published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<u32>,
    /// Whether triggers start it.
    pub enabled: bool,
    /// Made.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
}

/// Flow id -> flow.
pub struct Flows;

impl Table for Flows {
    const PREFIX: u8 = 0x6c;
    const NAME: &'static str = "flows";
    type Key = FlowId;
    type Value = FlowRecord;
    fn suffix(key: &FlowId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// A connection as it was when a flow that calls it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PinnedConnection {
    /// Which connection the name stood for.
    pub connection_id: ConnectionId,
    /// Its plugin.
    pub plugin: String,
    /// The version of its plugin.
    pub plugin_version: String,
}

/// A published version: never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowVersionRecord {
    /// What it does.
    pub spec: FlowSpec,
    /// The connections that it calls, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, PinnedConnection>,
    /// When.
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: String,
}

/// (flow, version) -> version.
pub struct FlowVersions;

impl FlowVersions {
    /// The version of a row's key.
    #[must_use]
    pub fn version(key: &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(key.get(17..21)?.try_into().ok()?))
    }
}

impl Table for FlowVersions {
    const PREFIX: u8 = 0x6d;
    const NAME: &'static str = "flow_versions";
    type Key = (FlowId, u32);
    type Value = FlowVersionRecord;
    fn suffix((flow, version): &Self::Key) -> Vec<u8> {
        [flow.as_bytes().as_slice(), &version.to_be_bytes()].concat()
    }
}

/// How far triggers have read the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCursor {
    /// The last entry that was looked at.
    pub sequence: u64,
}

/// The one place in the change log.
pub struct FlowCursors;

impl Table for FlowCursors {
    const PREFIX: u8 = 0x6e;
    const NAME: &'static str = "flow_cursors";
    type Key = ();
    type Value = FlowCursor;
    fn suffix((): &()) -> Vec<u8> {
        Vec::new()
    }
}

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on as soon as it can.
    Running,
    /// It waits for its time.
    Waiting,
    /// It is through.
    Succeeded,
    /// It failed; it can be retried.
    Failed,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of which flow.
    pub flow_id: FlowId,
    /// Of which version.
    pub version: u32,
    /// How it is.
    pub state: RunState,
    /// How many flows caused each other up to here, this one included.
    pub depth: u8,
    /// The place in the change log of what started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// What was posted to its trigger.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Where it stands.
    pub machine: Machine,
    /// Goes on then.
    pub due: Timestamp,
    /// What an outside step was begun with, while its outcome is not known: after a crash it is asked for again with the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Value>,
    /// Entries of its journal.
    #[serde(default)]
    pub entries: u32,
    /// Why it failed, without what is personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Bytes of its journal.
    #[serde(default)]
    pub bytes: u64,
    /// Begun.
    pub started_at: Timestamp,
    /// Ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Run id -> run.
pub struct Runs;

impl Table for Runs {
    const PREFIX: u8 = 0x6f;
    const NAME: &'static str = "runs";
    type Key = RunId;
    type Value = RunRecord;
    fn suffix(key: &RunId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// An entry of a run's journal. Personal and secret values have been taken out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunStep {
    /// The step's name.
    pub name: String,
    /// Where it stands in the flow: a JSON pointer.
    pub pointer: String,
    /// What it does.
    pub r#do: String,
    /// The how-manieth attempt.
    pub attempt: u32,
    /// What it was given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// (run, number of the attempt in it) -> entry.
pub struct RunSteps;

impl Table for RunSteps {
    const PREFIX: u8 = 0x70;
    const NAME: &'static str = "run_steps";
    type Key = (RunId, u32);
    type Value = RunStep;
    fn suffix((run, number): &Self::Key) -> Vec<u8> {
        [run.as_bytes().as_slice(), &number.to_be_bytes()].concat()
    }
}

/// What the list of a flow's runs needs to know without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// How it is.
    pub state: RunState,
    /// Ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Bytes of its journal.
    #[serde(default)]
    pub bytes: u64,
}

/// (flow, newest first) -> summary of a run.
pub struct RunsByFlow;

impl RunsByFlow {
    /// The run of a row's key.
    #[must_use]
    pub fn run(key: &[u8]) -> Option<RunId> {
        let mut bytes: [u8; 16] = key.get(17..33)?.try_into().ok()?;
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        Some(RunId::from_bytes(bytes))
    }
}

impl Table for RunsByFlow {
    const PREFIX: u8 = 0x71;
    const NAME: &'static str = "runs_by_flow";
    type Key = (FlowId, RunId);
    type Value = RunSummary;
    fn suffix((flow, run): &Self::Key) -> Vec<u8> {
        [flow.as_bytes().as_slice(), &key::inverted(run.as_bytes())].concat()
    }
}

/// (when, run): every run that has not ended, by when it goes on.
pub struct RunsDue;

impl RunsDue {
    /// Time and run of a row's key.
    #[must_use]
    pub fn parts(key: &[u8]) -> Option<(Timestamp, RunId)> {
        let millis = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?) ^ (1 << 63);
        Some((Timestamp::from_millis(millis as i64), RunId::from_bytes(key.get(9..25)?.try_into().ok()?)))
    }
}

impl Table for RunsDue {
    const PREFIX: u8 = 0x72;
    const NAME: &'static str = "runs_due";
    type Key = (Timestamp, RunId);
    type Value = Present;
    fn suffix((at, run): &Self::Key) -> Vec<u8> {
        // The sign bit flipped, so that the order of the bytes is that of the times.
        let at = (at.as_millis() as u64) ^ (1 << 63);
        [at.to_be_bytes().as_slice(), run.as_bytes()].concat()
    }
}

/// When a flow with a schedule runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSchedule {
    /// Then.
    pub next_at: Timestamp,
}

/// Flow id -> its next time.
pub struct FlowSchedules;

impl Table for FlowSchedules {
    const PREFIX: u8 = 0x73;
    const NAME: &'static str = "flow_schedules";
    type Key = FlowId;
    type Value = FlowSchedule;
    fn suffix(key: &FlowId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// The run that goes on when a handoff is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAwaiting {
    /// Which run.
    pub run: RunId,
}

/// Handoff id -> the run that waits for its end.
pub struct RunsAwaiting;

impl Table for RunsAwaiting {
    const PREFIX: u8 = 0x74;
    const NAME: &'static str = "runs_awaiting";
    type Key = HandoffId;
    type Value = RunAwaiting;
    fn suffix(key: &HandoffId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

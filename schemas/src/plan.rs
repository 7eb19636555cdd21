//! Plans: what a large run would do, shown first, approved by its hash, and then done exactly so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connector::Item;
use crate::{ConnectionId, PlanId, Timestamp};

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Take in what a silo holds already, or take it in again by other rules.
    Backfill,
    /// Believe deletions that are too many to be believed unseen.
    Deletes,
}

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// The silo is being read; nothing is changed by it.
    Reading,
    /// It waits for somebody to approve it by its hash.
    Waiting,
    /// It was approved and is being carried out.
    Applying,
    /// It was carried out.
    Done,
    /// Nothing more of it is carried out.
    Cancelled,
    /// The silo could not be read to the end.
    Failed,
}

impl PlanState {
    /// Whether it may still do something.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Reading | Self::Waiting | Self::Applying)
    }
}

/// What is to become of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// It becomes a new record of ours.
    Create,
    /// It is one that we have, which it is linked to.
    Link,
    /// It is linked already, and brings something new.
    Update,
    /// Both sides changed it and a person must decide.
    Conflict,
    /// The silo deleted it; what follows is the connection's policy.
    Delete,
    /// There is nothing to do, or it cannot be taken in.
    Skip,
}

/// What would become of one field of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanChange {
    /// The field.
    pub field: String,
    /// What it holds; null for nothing.
    pub before: Value,
    /// What it would hold.
    pub after: Value,
}

/// What would happen to one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanEffect {
    /// What.
    pub action: PlanAction,
    /// Our record; none for one that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_id: Option<String>,
    /// What changes of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlanChange>,
    /// Why it is skipped, or what is to be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Done as planned.
    Applied,
    /// Not done, because the record or ours is not what it was when this was planned.
    Changed,
    /// It could not be done.
    Failed {
        /// Why.
        detail: String,
    },
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanStep {
    /// The silo's key of the record.
    pub key: String,
    /// What is to happen.
    #[serde(flatten)]
    pub effect: PlanEffect,
    /// The version of the link when this was planned; none if there was no link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_version: Option<u64>,
    /// The record as it was read.
    pub item: Item,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<StepOutcome>,
}

/// A step, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanSample {
    /// The silo's key of the record.
    pub key: String,
    /// What is to happen.
    #[serde(flatten)]
    pub effect: PlanEffect,
}

/// What a large run would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Which connection.
    pub connection_id: ConnectionId,
    /// Which of its entities.
    pub entity: String,
    /// What for.
    pub kind: PlanKind,
    /// How far it is.
    pub state: PlanState,
    /// Over all its steps, in order: whoever approves says this, so that nothing else is done. Final once it waits.
    pub hash: String,
    /// Why it waits, or why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// How many records would be created, linked and so on.
    #[serde(default)]
    pub counts: BTreeMap<PlanAction, u64>,
    /// A few of each, to look at.
    #[serde(default)]
    pub samples: Vec<PlanSample>,
    /// How many steps it has; records that are skipped are none.
    #[serde(default)]
    pub steps: u64,
    /// How many steps were looked at.
    #[serde(default)]
    pub done: u64,
    /// How many of them were carried out.
    #[serde(default)]
    pub applied: u64,
    /// How many of them were not, because something had changed since.
    #[serde(default)]
    pub changed: u64,
    /// How many of them could not be.
    #[serde(default)]
    pub failed: u64,
    /// Where reading goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

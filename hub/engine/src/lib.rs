//! Does. Takes in what connectors report, commits what the domain decides, carries the effects out, and keeps connections alive.
//!
//! [`Hub`] is the cheap handle to all of it. The engine knows the store's tables and the connector port; it knows no sled, no
//! wasmtime and no HTTP framework. Rules live in `throughline-domain`: code here gathers facts, calls a rule, writes the outcome.

mod clock;
mod cloud_event;
pub mod commands;
mod dispatch;
mod error;
mod flow;
mod handoff;
mod hub;
mod ingest;
mod lanes;
mod likeness;
mod loops;
mod metrics;
mod plans;
mod sealed;
mod services;
mod signal;
mod supervisor;
mod tokens;
mod views;
mod webhooks;

pub use clock::seeded::seed_this_thread;
pub use clock::{Clock, SystemClock};
pub use cloud_event::{CloudEvent, EVENT_TYPE_PREFIX, EventData, EventFilter};
pub use error::{FieldError, HubError, Result};
pub use flow::{
    DryRun, DryRunDifference, DryRunEntry, DryRunReport, DryRunStep, FlowPatch, FlowVersionView, FlowView, NewFlow, RunFilter, RunView,
};
pub use handoff::{HandoffAnswer, HandoffFilter, HandoffPolicyView, NewHandoff, NewInvite, NewMeeting};
pub use hub::{Hub, HubOptions, PageOf, Paging, Stored};
pub use ingest::{Accepted, IngestBatch};
pub use likeness::{IdentityWhatIf, IdentityWhatIfAnswer, MemberView, SaidView, WhatIfPair, WhyView};
pub use metrics::{Metric, MetricKind};
pub use throughline_domain::continuity::policy::{ContinuityPolicies, PolicyRule, PolicySettings};
pub use throughline_domain::identity::IdentityPolicy;
pub use throughline_store::tables::{
    AuditEntry, ConflictItem, DeadLetter, PendingUpdate, ProofStatus, Review, ReviewStatus, RunState, RunStep, Scope, WebhookOutcome,
};
pub use views::*;
pub use webhooks::{NewWebhook, Replay, Replayed, SecretView, WebhookAttemptView, WebhookMade, WebhookPatch, WebhookView};

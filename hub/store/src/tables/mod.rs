//! One file per table: its key's bytes, what it stores, its version. `FORMAT.md` has the layout byte by byte.
//!
//! A table maps a typed key to a value in a versioned envelope. [`Tx`] reads and writes rows of any table and commits them, with
//! log entries, as one atomic batch whose preconditions are exactly the rows that were read.

mod api_key;
mod audit;
mod cell;
mod connection;
mod conversation;
mod decision;
mod delivery;
mod enquiry;
mod flow;
#[cfg(test)]
mod golden_tests;
mod handoff;
mod idempotent;
mod identity;
mod inbox;
mod interaction;
mod key;
mod link;
mod merge;
mod plan;
mod policy;
mod profile;
mod proof;
mod review;
mod token;
mod tx;
mod web_key;
mod webhook;

pub use api_key::{ApiKeyRecord, ApiKeys, Scope};
pub use audit::{AuditEntry, AuditLog};
pub use connection::{
    ConnectionRecord, Connections, Cursors, DispatchCursor, DispatchCursors, PendingUpdate, PluginState, SealedSecret, Secrets,
    StoredCursor,
};
pub use conversation::{ConversationKeys, Conversations};
pub use decision::{DecisionIndex, Decisions};
pub use delivery::{ConflictItem, Conflicts, DeadLetter, DeadLetters, Deliveries, Delivery, DeliveryKey, DeliveryWork, OpenConflicts};
pub use enquiry::{Enquiries, EnquiriesByProfile, EnquiryTimeline, LatestEnquiries};
pub use flow::{
    FlowCursor, FlowCursors, FlowRecord, FlowSchedule, FlowSchedules, FlowVersionRecord, FlowVersions, Flows, PinnedConnection,
    RunAwaiting, RunRecord, RunState, RunStep, RunSteps, RunSummary, Runs, RunsAwaiting, RunsByFlow, RunsDue,
};
pub use handoff::{
    Answers, HandoffDeadlines, HandoffPolicies, Handoffs, HandoffsByEnquiry, OpenHandoff, OpenHandoffs, Unowned, WatchPlace, WatchPlaces,
};
pub use idempotent::{IdempotentKey, IdempotentResponse, IdempotentResponses};
pub use identity::{Identities, IdentityRow};
pub use inbox::{Inbox, InboxEntry};
pub use interaction::{ConversationTimeline, Interactions, MessageIdRow, MessageIds, Timeline, TimelineKey};
pub use key::{leading_id, trailing_name};
pub use link::{LinkKey, Links, LinksByCanonical};
pub use merge::{MergeRecord, Merges};
pub use plan::{PlanSteps, Plans};
pub use policy::{Endpoint, Endpoints, Policies, StoredPolicy};
pub use profile::{Leaf, Leaves};
pub use proof::{ProofStatus, Proofs, StoredProof};
pub use review::{IdentityPolicies, Review, ReviewStatus, Reviews};
pub use token::{BudgetRow, Budgets, ShortCode, ShortCodeKey, ShortCodes, ShortCodesByExpiry, TokenUse, TokenUses};
pub use tx::{Row, RowPage, TableError, Tx, count_rows, forget_keys, forget_rows, is_of_range, read, scan_rows};
pub use web_key::{StoredWebKey, WebKeys};
pub use webhook::{
    WebhookAttempt, WebhookAttempts, WebhookCursor, WebhookCursors, WebhookOutcome, WebhookPending, WebhookPendings, WebhookRecord,
    WebhookSecretRow, Webhooks,
};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A table: a prefix byte, a typed key, a value in a versioned envelope.
pub trait Table {
    /// First byte of every key: 0x10 to 0x7f, never used again for anything else.
    const PREFIX: u8;
    /// Its name in messages and golden files.
    const NAME: &'static str;
    /// The version of what is written now.
    const VERSION: u8 = 1;
    /// What names a row.
    type Key;
    /// What a row holds.
    type Value: Serialize + DeserializeOwned;
    /// The key's bytes after the prefix. Their order is the order of scans.
    fn suffix(key: &Self::Key) -> Vec<u8>;

    /// The key's bytes.
    fn key(key: &Self::Key) -> Vec<u8> {
        let mut bytes = vec![Self::PREFIX];
        bytes.extend(Self::suffix(key));
        bytes
    }
}

/// The value of rows whose key says everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Present {}

/// The range of a table's keys that begin with `prefix` (without the table's own byte).
fn key_range<T: Table>(prefix: &[u8]) -> crate::port::KeyRange {
    let mut bytes = vec![T::PREFIX];
    bytes.extend_from_slice(prefix);
    crate::port::KeyRange::prefix(&bytes)
}

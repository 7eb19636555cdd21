//! The contracts of Throughline: canonical types, plugin manifest and connector vocabulary.
//!
//! Shared by the hub and by every guest, so it depends on serde and jiff (both compile for wasm) and on nothing else.
//! The words are those of `docs/vocabulary.md`; the plugin world itself is in `wit/`, one folder per version.
//! This crate knows no storage, no HTTP and no clock.

pub mod connector;
pub mod enquiry;
pub mod event;
pub mod handoff;
pub mod id;
pub mod identity;
pub mod interaction;
pub mod manifest;
pub mod plan;
pub mod profile;
pub mod replay;
pub mod sync;
pub mod time;

pub use enquiry::{Classification, ContextVariable, Enquiry, EnquiryStatus, FieldOrigin, VariableScope};
pub use event::{Cause, Change, ChangeKind, ChangeOrigin, Decision, Evidence};
pub use handoff::{Briefing, Exchange, Handoff, HandoffKind, HandoffState, Meeting, Receiver};
pub use id::*;
pub use identity::{Assurance, Identity, IdentityLink, IdentityType, LinkMethod, Sharing};
pub use interaction::{
    Attachment, CallFacts, CallOutcome, Channel, Content, Conversation, Direction, Interaction, InteractionFact, MessageFacts, Participant,
    ParticipantRole, ProvenIdentity, SelfServiceFacts, ThreadEvidence, Transfer,
};
pub use profile::{Attributed, Profile, ProfileState};
pub use time::Timestamp;

/// The WIT world of this release, as text: what `throughline plugin new` writes out and the host links against.
pub const WIT_0_1_0: &str = include_str!("../wit/0.1.0/connector.wit");
/// The WIT versions this release can load.
pub const WIT_VERSIONS: &[&str] = &["0.1.0"];

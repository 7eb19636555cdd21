//! Identifiers of people, and the retractable assertion that one belongs to a profile.

use serde::{Deserialize, Serialize};

use crate::{DecisionId, ProfileId, Timestamp};

/// What kind of identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IdentityType {
    /// A telephone number; canonical form E.164.
    Phone,
    /// A mail address; canonical form lower case, domain in IDNA ASCII.
    Email,
    /// A name on a platform; scoped by its namespace.
    Handle,
    /// A silo's own record id; scoped by its namespace, which names connection and entity.
    External,
}

impl IdentityType {
    /// As in JSON and in look-ups: `phone`, `email`, `handle`, `external`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Handle => "handle",
            Self::External => "external",
        }
    }
}

/// Whether one person alone uses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One person's own: may link by itself.
    #[default]
    Exclusive,
    /// Known to be used by several: a role mailbox, a switchboard, a family's landline.
    Shared,
    /// Not known.
    Unknown,
}

/// How sure we are of who is speaking (the A scale of `docs/continuity.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// Only claimed.
    #[default]
    Claimed,
    /// Asserted by the channel: caller id, From header, platform handle.
    Asserted,
    /// Proven in this session: one-time code, signed web identity, DKIM-aligned mail from a verified address.
    Proven,
    /// Confirmed by an agent or the system of record.
    Confirmed,
}

/// One identifier of a person, normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// What kind.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Scope of handles and external ids; empty for phone and mail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The canonical form: what is compared.
    pub value: String,
    /// As it arrived: what is sent to.
    pub raw: String,
    /// Whether one person alone uses it.
    pub sharing: Sharing,
    /// The best assurance it was seen with.
    pub assurance: Assurance,
    /// First seen.
    pub first_seen: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
}

/// By what an identity was linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkMethod {
    /// First seen with this profile, which was made for it.
    Origin,
    /// Came in the same record or interaction as an exclusive identity of the profile.
    Deterministic,
    /// By a person.
    Manual,
}

/// The assertion that an identity belongs to a profile. A fact that can be retracted, never deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdentityLink {
    /// The identity.
    pub identity: Identity,
    /// The profile, as it was before any merge.
    pub profile_id: ProfileId,
    /// How it came about.
    pub method: LinkMethod,
    /// Why.
    pub decision_id: DecisionId,
    /// Since when.
    pub linked_at: Timestamp,
    /// Until when, if it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retracted_at: Option<Timestamp>,
}

//! Shapes of proofs of identity, of the keys of websites, and of trying policies out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_domain::continuity::ContinuityPolicies;
use throughline_domain::web_identity::SigningAlgorithm;
use throughline_schemas::{ConnectionId, EnquiryId, IdentityType, InteractionId, ProofId, Timestamp};
use throughline_store::tables::ProofStatus;

use super::default_brand;

/// A proof to be begun.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProof {
    /// Where the code goes: `email:ada@example.com` or `phone:+44…`.
    pub to: String,
    /// The connection to send it by; the conversation's own if absent.
    #[serde(default)]
    pub connection_id: Option<ConnectionId>,
    /// The text, with `{code}` where the code is to stand.
    #[serde(default)]
    pub text: Option<String>,
    /// The subject, where the channel has one.
    #[serde(default)]
    pub subject: Option<String>,
}

/// A code that somebody gave.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofCheck {
    /// As it was typed or keyed; only its digits count.
    pub code: String,
    /// Which proof; the one that is waited for if absent.
    #[serde(default)]
    pub proof_id: Option<ProofId>,
    /// Whether the address, once proven, is linked with the conversation's customer; that may join two profiles.
    #[serde(default = "yes")]
    pub link: bool,
}

const fn yes() -> bool {
    true
}

/// How a proof stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofView {
    /// Its id.
    pub id: Option<ProofId>,
    /// How it stands.
    pub status: ProofStatus,
    /// What kind of address.
    #[serde(rename = "type")]
    pub identity_type: IdentityType,
    /// Where the code went, so that only its owner knows it.
    pub to: String,
    /// Attempts that are left.
    pub attempts_left: u8,
    /// When the code stops to hold.
    pub expires_at: Timestamp,
}

/// A website's key to be made known.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebKey {
    /// Its id, as its tokens name it (`kid`).
    pub kid: String,
    /// The brand whose website it is; `default` if absent.
    #[serde(default = "default_brand")]
    pub brand: String,
    /// The one algorithm that is taken with it.
    pub algorithm: SigningAlgorithm,
    /// The shared secret for HS256, of at least 32 bytes; else the public key as PEM. Never shown again.
    pub key: String,
    /// The issuer (`iss`) that its tokens must name.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The audience (`aud`) that its tokens must name.
    #[serde(default)]
    pub audience: Option<String>,
}

/// A website's key, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebKeyView {
    /// Its id.
    pub kid: String,
    /// The brand whose website it is.
    pub brand: String,
    /// The one algorithm that is taken with it.
    pub algorithm: SigningAlgorithm,
    /// The issuer that its tokens must name.
    pub issuer: Option<String>,
    /// The audience that its tokens must name.
    pub audience: Option<String>,
    /// When it was made known.
    pub created_at: Timestamp,
}

/// What a website signed of its visitor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// A JSON Web Token with `kid` in its header and `sub` and `exp` in its claims; `email` and `phone_number` count where
    /// `email_verified` and `phone_number_verified` say so.
    pub token: String,
    /// Whether what is proven is linked with the conversation's customer; that may join two profiles.
    #[serde(default = "yes")]
    pub link: bool,
}

/// What a signed web identity proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebProofView {
    /// The kinds of identity that are proven to be the speaker's.
    pub proven: Vec<IdentityType>,
    /// Until when the conversation stays proven.
    pub until: Timestamp,
}

/// Policies to be tried out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIf {
    /// What would be set.
    pub policies: ContinuityPolicies,
    /// How many of the last interactions to take in again, 1 to 5000; 500 if absent.
    #[serde(default)]
    pub last: Option<usize>,
}

/// What would have been different.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhatIfAnswer {
    /// How many interactions were taken in again.
    pub considered: usize,
    /// How many of them would have gone elsewhere.
    pub different: usize,
    /// The first 200 of those, oldest first.
    pub changes: Vec<WhatIfChange>,
}

/// One interaction that would have gone elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhatIfChange {
    /// Which.
    pub interaction_id: InteractionId,
    /// Where it goes under the policies that hold.
    pub now: WhatIfPlace,
    /// Where it would go.
    pub then: WhatIfPlace,
}

/// Where an interaction goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhatIfPlace {
    /// `attach`, `open`, `park`, `suggest` or `none`.
    pub verdict: String,
    /// The enquiry; null where it would be another than there is.
    pub enquiry_id: Option<EnquiryId>,
    /// What would be suggested, best first.
    pub candidates: Vec<EnquiryId>,
}

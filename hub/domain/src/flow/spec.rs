//! A flow as an admin writes it. Texts may hold CEL between `{{` and `}}`; a text that is nothing else gives the value itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_schemas::{Channel, Classification, HandoffKind, Receiver};

/// A flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// What starts it.
    pub trigger: Trigger,
    /// A CEL expression that must be true for it to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether it is also started by what an approved plan takes in of a silo's past.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// What it does.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 100)))]
    pub steps: Vec<Step>,
    /// How long its runs are kept.
    #[serde(default)]
    pub history: History,
}

/// What starts a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// A change of one of these kinds: `enquiry.opened`, `enquiry.*`.
    Change(#[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20)))] Vec<String>),
    /// A change of one of these fields.
    Field {
        /// Of what.
        of: FieldRecord,
        /// Names: `status`, `owner`, `reason` or a variable's of an enquiry; a profile's field.
        #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20)))]
        names: Vec<String>,
    },
    /// The time.
    Schedule(ScheduleSpec),
    /// Somebody posts to `/v1/flows/{id}/trigger`; the body is `input`.
    Webhook {},
}

/// When a schedule comes: `every_seconds`, or `cron` with a `time_zone`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Every so many seconds, a minute at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 60, max = 31_536_000)))]
    pub every_seconds: Option<u64>,
    /// Minute, hour, day, month and weekday as cron writes them: `30 9 * * mon-fri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Whose clock `cron` goes by, as the IANA database names it: `Europe/Berlin`. UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What has fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FieldRecord {
    /// A profile.
    Profile,
    /// An enquiry.
    Enquiry,
}

/// How long runs are kept: what ended before, or is beyond this many MiB counted from the newest, is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Days after the end.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3650)))]
    pub days: u32,
    /// MiB of all runs together.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    pub mebibytes: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { days: 30, mebibytes: 64 }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, by which later steps see what came of it: `steps.<name>`.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z][a-z0-9_]{0,39}$")))]
    pub name: String,
    /// What it does.
    pub r#do: Action,
    /// How often it is tried.
    #[serde(default)]
    pub retry: Retry,
    /// What happens when it has failed for good.
    #[serde(default)]
    pub on_error: OnError,
}

/// How often a step is tried. The wait doubles from one attempt to the next, up to an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 20)))]
    pub attempts: u32,
    /// Seconds before the second attempt.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3600)))]
    pub wait_seconds: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, wait_seconds: 5 }
    }
}

/// What happens when a step has failed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run has failed; it can be retried from this step on.
    #[default]
    Fail,
    /// The run goes on; `steps.<name>.error` says what happened.
    Continue,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Send a message in a conversation.
    Send(SendSpec),
    /// Write fields of the profile or the enquiry; the connected systems follow.
    Write(WriteSpec),
    /// Set context variables of the enquiry.
    SetContext(SetContextSpec),
    /// Wait, through restarts.
    Wait(WaitSpec),
    /// Do the one or the other.
    Branch(BranchSpec),
    /// Do something for each element of a list.
    ForEach(ForEachSpec),
    /// Put an event into the change log, for webhooks, streams and other flows: `flow.emitted`.
    Emit(EmitSpec),
    /// Have a connection's plugin carry out an action.
    Call(CallSpec),
    /// Hand the event's enquiry on.
    Handoff(HandoffSpec),
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SendSpec {
    /// The text.
    pub text: String,
    /// The subject; that of the conversation if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The conversation's id; that of the event if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
}

/// Fields to be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WriteSpec {
    /// Of the event's profile or of its enquiry.
    pub to: FieldRecord,
    /// New values. Of an enquiry: `status`, `owner`, `reason`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 50)))]
    pub fields: BTreeMap<String, Value>,
}

/// Context variables to be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetContextSpec {
    /// By name; a value that comes to null removes the variable.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 50)))]
    pub variables: BTreeMap<String, VariableSpec>,
}

/// A context variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VariableSpec {
    /// Its value.
    pub value: Value,
    /// Who may see it.
    #[serde(default)]
    pub classification: Classification,
}

/// A wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitSpec {
    /// So many seconds, a year at most.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub seconds: u64,
}

/// A fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BranchSpec {
    /// A CEL expression that comes to true or false.
    pub r#if: String,
    /// Done if it is true.
    #[serde(default)]
    pub then: Vec<Step>,
    /// Done if it is false.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r#else: Vec<Step>,
}

/// A loop over a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ForEachSpec {
    /// A CEL expression that comes to a list.
    pub r#in: String,
    /// What an element is called in the steps.
    #[serde(default = "item", rename = "as")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z][a-z0-9_]{0,39}$")))]
    pub name: String,
    /// A longer list is an error.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub at_most: u32,
    /// What is done with each.
    pub steps: Vec<Step>,
}

fn item() -> String {
    "item".to_owned()
}

/// An event to be put into the change log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EmitSpec {
    /// What it is called; `data.type` of the `flow.emitted` event.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z][a-z0-9_.]{0,79}$")))]
    pub r#type: String,
    /// What it holds, at most 2000 bytes as JSON.
    #[serde(default)]
    pub data: Value,
}

/// An action of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CallSpec {
    /// The connection's name. The version of its plugin is pinned when the flow is published.
    pub connection: String,
    /// The action, as the plugin's manifest names it.
    pub action: String,
    /// Its input.
    #[serde(default)]
    pub input: Value,
}

/// An enquiry to be handed on: as `POST /v1/enquiries/{id}/handoffs` takes it, offered by the flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HandoffSpec {
    /// What is passed on, and how.
    pub kind: HandoffKind,
    /// Whom to; not for a channel switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Receiver>,
    /// Where the customer is to be met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<MeetingSpec>,
    /// The call under way that goes along: an interaction's id, as `{{ interaction.id }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// When the customer is to be called (RFC 3339); only for a callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the customer is sent; only for a channel switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<InviteSpec>,
    /// A word to the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long it holds, in seconds; the brand's policy if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub deadline_seconds: Option<u32>,
    /// Go on only when it is over: `steps.<name>` then has `state`, `outcome` and `accepted_by`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
}

/// Where a customer is to be met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MeetingSpec {
    /// The connection's name.
    pub connection: String,
    /// The kind of channel; the connection's first if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The customer's address there; the one known if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What a customer is sent who is to come to another channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InviteSpec {
    /// What is written. `{link}` and `{token}`, in single braces, are replaced when it is sent.
    pub text: String,
    /// The subject, where the channel has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Our address to send from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The page to come to, with `{token}` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

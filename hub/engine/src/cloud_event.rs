//! A change as others see it: a CloudEvents 1.0 event, the same on the event stream and in webhooks.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use throughline_schemas::{Change, ChangeKind, Timestamp};

/// What every event type begins with.
pub const EVENT_TYPE_PREFIX: &str = "io.throughline.";

/// A change as a CloudEvents 1.0 event.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: &'static str,
    /// Its place in the change log.
    pub id: String,
    /// This hub.
    pub source: String,
    /// `io.throughline.` and the kind of change.
    pub r#type: String,
    /// When the hub decided it.
    pub time: Timestamp,
    /// The id of what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `application/json`.
    pub datacontenttype: &'static str,
    /// The change.
    pub data: EventData,
}

/// What an event holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EventData {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// With `call.ringing` on the event stream: everything that the agent's screen needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}

impl CloudEvent {
    /// Of a change at its place in the log. `public_url` is where the hub is reached from outside.
    #[must_use]
    pub fn new(public_url: Option<&str>, sequence: u64, change: Change) -> Self {
        Self {
            specversion: "1.0",
            id: sequence.to_string(),
            source: public_url.unwrap_or("urn:throughline:hub").to_owned(),
            r#type: format!("{EVENT_TYPE_PREFIX}{}", change.kind.as_str()),
            time: change.at,
            subject: subject(&change),
            datacontenttype: "application/json",
            data: EventData { change, context: None },
        }
    }
}

/// Which kinds of change somebody wants to hear of; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter(Vec<Wanted>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Kind(ChangeKind),
    /// `enquiry.`, of `enquiry.*`.
    Group(String),
}

impl EventFilter {
    /// From names as `enquiry.opened` or `enquiry.*`, with or without [`EVENT_TYPE_PREFIX`].
    ///
    /// # Errors
    /// The place and the text of the first name that is none.
    pub fn parse<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, (usize, String)> {
        let parsed = names.into_iter().enumerate().map(|(index, name)| wanted(name).ok_or_else(|| (index, name.to_owned())));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a change of this kind is wanted.
    #[must_use]
    pub fn wants(&self, kind: ChangeKind) -> bool {
        let is = |wanted: &Wanted| match wanted {
            Wanted::Kind(wanted) => *wanted == kind,
            Wanted::Group(start) => kind.as_str().starts_with(start.as_str()),
        };
        self.0.is_empty() || self.0.iter().any(is)
    }
}

fn wanted(name: &str) -> Option<Wanted> {
    let bare = name.strip_prefix(EVENT_TYPE_PREFIX).unwrap_or(name);
    if let Some(group) = bare.strip_suffix('*') {
        // A group that no kind belongs to is a slip of the pen.
        let belongs = |kind: &ChangeKind| group.ends_with('.') && kind.as_str().starts_with(group);
        return ChangeKind::ALL.iter().any(belongs).then(|| Wanted::Group(group.to_owned()));
    }
    ChangeKind::ALL.iter().find(|kind| kind.as_str() == bare).map(|kind| Wanted::Kind(*kind))
}

/// The id of what the kind speaks of; failing that, of the most particular thing that it concerns.
fn subject(change: &Change) -> Option<String> {
    let interaction = change.interaction_id.map(|id| id.to_string());
    let conversation = change.conversation_id.map(|id| id.to_string());
    let enquiry = change.enquiry_id.map(|id| id.to_string());
    let profile = change.profile_id.map(|id| id.to_string());
    let handoff = change.data.get("handoff").and_then(Value::as_str).map(str::to_owned);
    let own = match change.kind.as_str().split_once('.').map_or("", |(thing, _)| thing) {
        "profile" => &profile,
        "enquiry" => &enquiry,
        "conversation" => &conversation,
        "handoff" => &handoff,
        _ => &interaction,
    };
    own.clone().or(interaction).or(conversation).or(enquiry).or(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_what_the_kind_speaks_of() {
        let mut change = Change::new(ChangeKind::EnquiryOpened, Timestamp::default());
        assert_eq!(subject(&change), None);
        change.interaction_id = Some(throughline_schemas::InteractionId::from_bytes([1; 16]));
        assert!(subject(&change).unwrap().starts_with("int_"));
        change.enquiry_id = Some(throughline_schemas::EnquiryId::from_bytes([1; 16]));
        change.profile_id = Some(throughline_schemas::ProfileId::from_bytes([1; 16]));
        for (kind, prefix) in [(ChangeKind::EnquiryOpened, "enq_"), (ChangeKind::ProfileUpdated, "pro_"), (ChangeKind::CallRinging, "int_")]
        {
            change.kind = kind;
            assert!(subject(&change).unwrap().starts_with(prefix), "{kind:?}");
        }
    }

    #[test]
    fn filters_name_kinds_or_groups_with_or_without_the_prefix() {
        let filter = EventFilter::parse(["call.ringing", "io.throughline.enquiry.*"]).unwrap();
        assert!(
            filter.wants(ChangeKind::CallRinging) && filter.wants(ChangeKind::EnquiryOpened) && filter.wants(ChangeKind::EnquiryUpdated)
        );
        assert!(!filter.wants(ChangeKind::ProfileCreated));
        assert!(EventFilter::default().wants(ChangeKind::ProfileCreated));
        for wrong in ["call.rang", "caller.*", "enq*", "*", ""] {
            assert_eq!(EventFilter::parse(["call.ringing", wrong]), Err((1, wrong.to_owned())));
        }
    }
}

//! From one of the system's records to an item for the hub. Pure but for the time of receipt, which is handed in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throughline_plugin_sdk::http::ResponseExt;
use throughline_plugin_sdk::schemas::manifest::Canonical;
use throughline_plugin_sdk::schemas::{
    Content, Direction, InteractionFact, MessageFacts, Participant, ParticipantRole, ThreadEvidence, Timestamp,
};
use throughline_plugin_sdk::{Error, ErrorClass, HttpResponse, Item, ItemKind, Result};

use crate::config::{Deletes, Entity, Flag, InteractionMap, Version};
use crate::{mapping, pointer, time};

/// The record's id.
pub(crate) fn key(entity: &Entity, record: &Value) -> Option<String> {
    pointer::text_at(record, &entity.id)
}

/// The record's version, from the record or, if it comes with one, from its own response.
pub(crate) fn version(entity: &Entity, record: &Value, response: Option<&HttpResponse>) -> Option<String> {
    match entity.version.as_ref()? {
        Version::Pointer(place) => pointer::text_at(record, place),
        Version::Header(source) => {
            let value = response?.header(&source.header)?.trim();
            Some(value.strip_prefix("W/").unwrap_or(value).trim_matches('"').to_owned())
        }
    }
}

/// When the record last changed.
pub(crate) fn updated(entity: &Entity, record: &Value) -> Option<Timestamp> {
    let updated = entity.updated.as_ref()?;
    time::parse(record.pointer(&updated.pointer)?, updated.format)
}

/// The item that a record is: itself, a deletion, a merge or an interaction.
pub(crate) fn item(name: &str, entity: &Entity, record: &Value, response: Option<&HttpResponse>, now: Timestamp) -> Result<Item> {
    let key = key(entity, record).ok_or_else(|| {
        let detail = format!("a record of {name:?} has no id at {:?}", entity.id);
        Error::new(ErrorClass::InvalidRecord, detail).with_field(format!("entities.{name}.id"))
    })?;
    let (kind, data) = match news(entity, record) {
        News::Deleted => (ItemKind::Deleted, json!({})),
        News::MergedInto(survivor) => (ItemKind::Merged, json!({"into": survivor})),
        News::Here => here(name, entity, record, now)?,
    };
    let at_ms = updated(entity, record).and_then(|at| u64::try_from(at.as_millis()).ok());
    Ok(Item { kind, entity: name.to_owned(), key, version: version(entity, record, response), at_ms, data })
}

/// A deletion known only by the record's id.
pub(crate) fn deleted(name: &str, key: &str, at: Option<Timestamp>) -> Item {
    let at_ms = at.and_then(|at| u64::try_from(at.as_millis()).ok());
    Item { kind: ItemKind::Deleted, entity: name.to_owned(), key: key.to_owned(), version: None, at_ms, data: json!({}) }
}

/// What a record says of its own fate.
pub(crate) enum News {
    /// It is there.
    Here,
    /// It is marked deleted.
    Deleted,
    /// It was merged into the record with this key.
    MergedInto(String),
}

/// Reads a record's fate.
pub(crate) fn news(entity: &Entity, record: &Value) -> News {
    if let Some(survivor) = entity.merged.as_ref().and_then(|merged| pointer::text_at(record, &merged.pointer)) {
        return News::MergedInto(survivor);
    }
    match &entity.deletes {
        Deletes::Flag(flag) if flagged(flag, record) => News::Deleted,
        _ => News::Here,
    }
}

fn flagged(flag: &Flag, record: &Value) -> bool {
    match (record.pointer(&flag.pointer), &flag.equals) {
        (None, _) => false,
        (Some(value), Some(wanted)) => value == wanted,
        (Some(value), None) => !(value.is_null() || value == false || value == "" || value == 0),
    }
}

fn here(name: &str, entity: &Entity, record: &Value, now: Timestamp) -> Result<(ItemKind, Value)> {
    let (Canonical::Interaction, Some(map)) = (entity.canonical, &entity.interaction) else {
        return Ok((ItemKind::Record, mapping::to_canonical(entity, record)));
    };
    let fact = interaction(map, record, now);
    let data = serde_json::to_value(fact).map_err(|error| Error::new(ErrorClass::Bug, format!("an interaction of {name:?}: {error}")))?;
    Ok((ItemKind::Interaction, data))
}

fn interaction(map: &InteractionMap, record: &Value, now: Timestamp) -> InteractionFact {
    let at = |place: &Option<String>| place.as_deref().and_then(|place| pointer::text_at(record, place));
    let direction = at(&map.direction_pointer).and_then(|said| map.directions.get(&said).copied()).unwrap_or(map.direction);
    let text = pointer::text_at(record, &map.text).unwrap_or_default();
    let occurred = map.occurred_at.as_deref().and_then(|place| time::parse(record.pointer(place)?, map.time_format));
    let variables: BTreeMap<String, Value> =
        map.variables.iter().filter_map(|(name, place)| Some((name.clone(), filled(record.pointer(place)?)?))).collect();
    InteractionFact {
        channel: map.channel,
        direction,
        endpoint: at(&map.endpoint),
        conversation_key: at(&map.conversation_key),
        occurred_at: occurred.unwrap_or(now),
        ended_at: None,
        participants: participants(map, record, direction),
        thread: ThreadEvidence {
            message_id: at(&map.message_id),
            tokens: at(&map.token).into_iter().collect(),
            ..ThreadEvidence::default()
        },
        automated: None,
        variables,
        content: if map.note {
            Content::Note { text }
        } else {
            Content::Message(MessageFacts { subject: at(&map.subject), text, ..MessageFacts::default() })
        },
    }
}

fn participants(map: &InteractionMap, record: &Value, direction: Direction) -> Vec<Participant> {
    let at = |place: &Option<String>| place.as_deref().and_then(|place| pointer::text_at(record, place));
    let customer = Participant {
        role: ParticipantRole::Customer,
        identity_type: Some(map.customer_type.0),
        address: pointer::text_at(record, &map.customer),
        name: at(&map.customer_name),
        sender: direction == Direction::Inbound,
    };
    let agent = at(&map.agent).map(|name| Participant {
        role: ParticipantRole::Agent,
        identity_type: None,
        address: None,
        name: Some(name),
        sender: direction != Direction::Inbound,
    });
    std::iter::once(customer).chain(agent).collect()
}

fn filled(value: &Value) -> Option<Value> {
    (!value.is_null() && value != "").then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(more: Value) -> Entity {
        let mut value = json!({"canonical": "profile", "version": "/v", "fields": {"display_name": "/name"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_record_is_itself_a_deletion_or_a_merge() {
        let table = [
            (json!({}), json!({"id": 7, "v": 3, "name": "Ada"}), ItemKind::Record, json!({"display_name": "Ada"})),
            (json!({"deletes": {"kind": "flag", "pointer": "/gone"}}), json!({"id": 7, "gone": true}), ItemKind::Deleted, json!({})),
            (json!({"deletes": {"kind": "flag", "pointer": "/gone"}}), json!({"id": 7, "gone": false}), ItemKind::Record, json!({})),
            (json!({"deletes": {"kind": "flag", "pointer": "/at"}}), json!({"id": 7, "at": "2026-01-01"}), ItemKind::Deleted, json!({})),
            (
                json!({"deletes": {"kind": "flag", "pointer": "/s", "equals": "del"}}),
                json!({"id": 7, "s": "del"}),
                ItemKind::Deleted,
                json!({}),
            ),
            (
                json!({"deletes": {"kind": "flag", "pointer": "/s", "equals": "del"}}),
                json!({"id": 7, "s": "new"}),
                ItemKind::Record,
                json!({}),
            ),
            (json!({"merged": {"pointer": "/into"}}), json!({"id": 7, "into": 9}), ItemKind::Merged, json!({"into": "9"})),
            (json!({"merged": {"pointer": "/into"}}), json!({"id": 7, "into": ""}), ItemKind::Record, json!({})),
        ];
        for (more, record, kind, data) in table {
            let item = item("contacts", &entity(more), &record, None, Timestamp::default()).unwrap();
            assert_eq!((item.kind, item.key.as_str(), item.data), (kind, "7", data), "{record}");
        }
        let error = item("contacts", &entity(json!({})), &json!({"name": "no id"}), None, Timestamp::default()).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("entities.contacts.id"));
    }

    #[test]
    fn a_version_may_come_in_a_header() {
        let entity = entity(json!({"version": {"header": "ETag"}}));
        for (value, wanted) in [("\"45\"", "45"), ("W/\"a b\"", "a b"), ("plain", "plain")] {
            let response = HttpResponse { status: 200, headers: vec![("etag".into(), value.into())], body: Vec::new() };
            assert_eq!(version(&entity, &json!({}), Some(&response)).as_deref(), Some(wanted));
        }
        assert_eq!(version(&entity, &json!({"v": 1}), None), None);
    }

    #[test]
    fn a_chat_message_becomes_an_interaction() {
        let entity: Entity = serde_json::from_value(json!({"canonical": "interaction", "interaction": {
            "channel": "chat", "text": "/body", "customer": "/visitor/id", "customer_name": "/visitor/name", "agent": "/agent",
            "direction_pointer": "/from", "directions": {"agent": "outbound", "visitor": "inbound"}, "conversation_key": "/room",
            "occurred_at": "/ts", "time_format": "unix_millis", "variables": {"order_number": "/order", "none": "/none"}, "token": "/t"}}))
        .unwrap();
        let record = json!({"id": "m1", "body": "Where is it?", "visitor": {"id": "v-9", "name": "Ada"}, "from": "visitor", "room": "r1",
            "ts": 1_795_292_585_250_i64, "order": "4711", "none": "", "t": "K7"});
        let item = item("messages", &entity, &record, None, Timestamp::default()).unwrap();
        assert_eq!(item.kind, ItemKind::Interaction);
        let fact: InteractionFact = serde_json::from_value(item.data).unwrap();
        assert_eq!((fact.direction, fact.conversation_key.as_deref()), (Direction::Inbound, Some("r1")));
        assert_eq!(fact.customer().unwrap().address.as_deref(), Some("v-9"));
        assert!(fact.customer().unwrap().sender);
        assert_eq!(fact.variables, BTreeMap::from([("order_number".to_owned(), json!("4711"))]));
        assert_eq!(fact.thread.tokens, ["K7"]);
        assert_eq!(fact.occurred_at.to_string(), "2026-11-21T20:23:05.250Z");
        let mut answer = record;
        answer["from"] = json!("agent");
        answer["agent"] = json!("Bo");
        let fact: InteractionFact =
            serde_json::from_value(super::item("messages", &entity, &answer, None, Timestamp::default()).unwrap().data).unwrap();
        assert_eq!(fact.direction, Direction::Outbound);
        assert!(!fact.customer().unwrap().sender && fact.participants[1].sender);
    }
}

//! From the system's record to canonical fields and back. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use throughline_plugin_sdk::{Error, ErrorClass, Result};

use crate::config::{Entity, FieldSpec, Split, Transform, ValueMap};
use crate::{pointer, time};

/// The canonical fields of a record. What the record does not have at all is left out: unknown is not empty.
pub(crate) fn to_canonical(entity: &Entity, record: &Value) -> Value {
    let mut fields = Map::new();
    for (name, map) in &entity.fields {
        let spec = map.spec();
        if spec.write_only {
            continue;
        }
        if let Some(value) = read_field(&spec, record) {
            fields.insert(name.clone(), value);
        }
    }
    Value::Object(fields)
}

/// The system's record for canonical fields: only what is to change. `empty` is what empties a field, none if nothing does.
pub(crate) fn to_silo(entity: &Entity, data: &Value, clear: &[String], empty: Option<&Value>) -> Result<Value> {
    let mut record = Value::Object(Map::new());
    let given = data.as_object().cloned().unwrap_or_default();
    for (name, value) in &given {
        let (spec, place) = writable(entity, name)?;
        let written = if value.is_null() { emptied(name, empty)? } else { write_field(name, &spec, value)? };
        pointer::set(&mut record, &place, written);
    }
    for name in clear {
        let (_, place) = writable(entity, name)?;
        pointer::set(&mut record, &place, emptied(name, empty)?);
    }
    Ok(record)
}

/// The canonical name of a field that the system calls `name` (a top-level name or a JSON pointer).
pub(crate) fn canonical_name(fields: &BTreeMap<String, crate::config::FieldMap>, name: &str) -> Option<String> {
    let place = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
    fields.iter().find(|(_, map)| map.spec().pointer.as_deref() == Some(&place)).map(|(canonical, _)| canonical.clone())
}

/// Whether two values are the same field value as far as a person would say.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    let blank = |value: &Value| value.is_null() || value.as_str() == Some("");
    left == right || (blank(left) && blank(right)) || (pointer::scalar(left).is_some() && pointer::scalar(left) == pointer::scalar(right))
}

fn read_field(spec: &FieldSpec, record: &Value) -> Option<Value> {
    if let Some(constant) = &spec.constant {
        return Some(constant.clone());
    }
    if !spec.join.is_empty() {
        let parts: Vec<String> = spec.join.iter().filter_map(|place| pointer::text_at(record, place)).collect();
        return Some(transformed(text_or_null(&parts.join(spec.separator.as_deref().unwrap_or(" "))), &spec.transforms));
    }
    let raw = record.pointer(spec.pointer.as_deref()?)?;
    if raw.as_str() == Some("") {
        return Some(Value::Null);
    }
    if raw.is_null() && spec.values.is_none() {
        return Some(Value::Null);
    }
    Some(decoded(spec, raw))
}

fn decoded(spec: &FieldSpec, raw: &Value) -> Value {
    let mut value = match spec.split {
        Some(part) => text_or_null(&split_name(&pointer::scalar(raw).unwrap_or_default(), part)),
        None => raw.clone(),
    };
    if let Some(date) = &spec.date {
        value = time::parse(&value, date.format).map_or(value, |moment| Value::from(moment.to_string()));
    }
    if let Some(values) = &spec.values {
        value = mapped_in(values, &value);
    }
    transformed(value, &spec.transforms)
}

fn writable(entity: &Entity, name: &str) -> Result<(FieldSpec, String)> {
    let spec = entity.fields.get(name).map(crate::config::FieldMap::spec).filter(FieldSpec::writable);
    let place = spec.as_ref().and_then(|spec| spec.pointer.clone());
    spec.zip(place).ok_or_else(|| Error::new(ErrorClass::InvalidRecord, format!("the field {name:?} cannot be written")).with_field(name))
}

fn emptied(name: &str, empty: Option<&Value>) -> Result<Value> {
    empty.cloned().ok_or_else(|| Error::new(ErrorClass::Unsupported, format!("{name:?} cannot be emptied in this system")).with_field(name))
}

fn write_field(name: &str, spec: &FieldSpec, value: &Value) -> Result<Value> {
    let mut written = transformed(value.clone(), &spec.transforms);
    if let Some(values) = &spec.values {
        written = mapped_out(values, &written);
    }
    if let Some(date) = &spec.date {
        let moment = time::parse(&written, time::TimeFormat::Rfc3339);
        let moment = moment.ok_or_else(|| Error::new(ErrorClass::InvalidRecord, format!("{name:?} is no time")).with_field(name))?;
        written = time::render(moment, date.format);
    }
    let length = written.as_str().map_or(0, |text| text.chars().count());
    match spec.max_length {
        Some(longest) if length > longest as usize => {
            let detail = format!("{name:?} has {length} characters, the system takes {longest}");
            Err(Error::new(ErrorClass::InvalidRecord, detail).with_field(name))
        }
        _ => Ok(written),
    }
}

fn transformed(value: Value, transforms: &[Transform]) -> Value {
    transforms.iter().fold(value, |value, transform| match (value, transform) {
        (Value::String(text), Transform::Trim) => Value::from(text.trim()),
        (Value::String(text), Transform::Lower) => Value::from(text.to_lowercase()),
        (Value::String(text), Transform::Upper) => Value::from(text.to_uppercase()),
        (Value::String(text), Transform::Phone) => Value::from(phone(&text)),
        (value, Transform::Text) => pointer::scalar(&value).map_or(value, Value::from),
        (value, _) => value,
    })
}

/// A leading `+` (or `00`, which means the same) and digits; what has no digits is left alone.
fn phone(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let trimmed = text.trim_start();
    if digits.is_empty() {
        return text.to_owned();
    }
    if trimmed.starts_with('+') {
        return format!("+{digits}");
    }
    match digits.strip_prefix("00") {
        Some(international) if !international.is_empty() => format!("+{international}"),
        _ => digits,
    }
}

fn split_name(name: &str, part: Split) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    match (part, words.split_last()) {
        (_, None) => String::new(),
        (Split::First, Some((only, []))) => (*only).to_owned(),
        (Split::First, Some((_, first))) => first.join(" "),
        (Split::Last, Some((_, []))) => String::new(),
        (Split::Last, Some((last, _))) => (*last).to_owned(),
    }
}

/// Our value for what the system stores.
pub(crate) fn mapped_in(values: &ValueMap, raw: &Value) -> Value {
    let key = pointer::scalar(raw).unwrap_or_default();
    values.read.get(&key).or(values.otherwise.as_ref()).unwrap_or(raw).clone()
}

/// What the system stores for our value.
pub(crate) fn mapped_out(values: &ValueMap, ours: &Value) -> Value {
    let named = pointer::scalar(ours).and_then(|key| values.write.get(&key)).cloned();
    let turned = || values.read.iter().find(|(_, value)| *value == ours).map(|(theirs, _)| Value::from(theirs.as_str()));
    named.or_else(turned).unwrap_or_else(|| ours.clone())
}

fn text_or_null(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entity(fields: Value) -> Entity {
        serde_json::from_value(json!({"canonical": "profile", "fields": fields})).unwrap()
    }

    #[test]
    fn a_field_is_read_as_its_map_says() {
        let record = json!({"name": " Ada  Augusta Lovelace", "mail": "ADA@x.test ", "tel": "0049 (170) 1", "n": 7, "nil": null, "e": "",
            "at": 1_795_292_585, "state": "2", "a": {"b": "deep"}, "first": "Ada", "last": "Lovelace"});
        let table = [
            (json!("/a/b"), json!("deep")),
            (json!("/nil"), json!(null)),
            (json!("/e"), json!(null)),
            (json!({"pointer": "/name", "transforms": ["trim"]}), json!("Ada  Augusta Lovelace")),
            (json!({"pointer": "/mail", "transforms": ["trim", "lower"]}), json!("ada@x.test")),
            (json!({"pointer": "/mail", "transforms": ["upper", "trim"]}), json!("ADA@X.TEST")),
            (json!({"pointer": "/tel", "transforms": ["phone"]}), json!("+491701")),
            (json!({"pointer": "/n", "transforms": ["text"]}), json!("7")),
            (json!({"pointer": "/name", "split": "first"}), json!("Ada Augusta")),
            (json!({"pointer": "/name", "split": "last"}), json!("Lovelace")),
            (json!({"join": ["/first", "/none", "/last"]}), json!("Ada Lovelace")),
            (json!({"join": ["/last", "/first"], "separator": ", "}), json!("Lovelace, Ada")),
            (json!({"const": "de"}), json!("de")),
            (json!({"pointer": "/at", "date": {"format": "unix_seconds"}}), json!("2026-11-21T20:23:05.000Z")),
            (json!({"pointer": "/state", "values": {"read": {"1": "open", "2": "closed"}}}), json!("closed")),
            (json!({"pointer": "/n", "values": {"read": {"1": "open"}, "otherwise": "waiting"}}), json!("waiting")),
        ];
        for (map, wanted) in table {
            assert_eq!(to_canonical(&entity(json!({"x": map.clone()})), &record)["x"], wanted, "{map}");
        }
        let absent = to_canonical(&entity(json!({"x": "/not/there", "y": {"pointer": "/n", "write_only": true}})), &record);
        assert_eq!(absent, json!({}), "unknown is not empty");
    }

    #[test]
    fn a_change_is_written_as_its_map_says() {
        let entity = entity(json!({
            "name": "/person/name", "email": {"pointer": "/mail", "transforms": ["trim", "lower"]},
            "status": {"pointer": "/state", "values": {"read": {"1": "open", "2": "closed", "3": "closed"}, "write": {"waiting": 9}}},
            "due": {"pointer": "/due", "date": {"format": "rfc3339_space"}}, "note": {"pointer": "/note", "max_length": 3},
            "first": {"pointer": "/person/name", "split": "first"}, "fixed": {"const": 1}, "seen": {"pointer": "/seen", "read_only": true}}));
        let data = json!({"name": "Ada", "email": " A@B ", "status": "closed", "due": "2026-11-21T20:00:00Z", "note": "äöü"});
        let wanted = json!({"person": {"name": "Ada"}, "mail": "a@b", "state": "2", "due": "2026-11-21 20:00:00.000Z", "note": "äöü"});
        assert_eq!(to_silo(&entity, &data, &[], None).unwrap(), wanted);
        assert_eq!(to_silo(&entity, &json!({"status": "waiting"}), &[], None).unwrap(), json!({"state": 9}));
        for (data, class) in [
            (json!({"note": "four"}), ErrorClass::InvalidRecord),
            (json!({"due": "soon"}), ErrorClass::InvalidRecord),
            (json!({"first": "A"}), ErrorClass::InvalidRecord),
            (json!({"fixed": 2}), ErrorClass::InvalidRecord),
            (json!({"seen": 2}), ErrorClass::InvalidRecord),
            (json!({"unknown": 2}), ErrorClass::InvalidRecord),
            (json!({"name": null}), ErrorClass::Unsupported),
        ] {
            let error = to_silo(&entity, &data, &[], None).unwrap_err();
            let name = data.as_object().unwrap().keys().next().cloned();
            assert_eq!((error.class, error.field), (class, name), "{data}");
        }
    }

    #[test]
    fn a_field_is_emptied_in_the_systems_way() {
        let entity = entity(json!({"name": "/name"}));
        let clear = ["name".to_owned()];
        assert_eq!(to_silo(&entity, &json!({}), &clear, Some(&Value::Null)).unwrap(), json!({"name": null}));
        assert_eq!(to_silo(&entity, &json!({"name": null}), &[], Some(&json!(""))).unwrap(), json!({"name": ""}));
        assert_eq!(to_silo(&entity, &json!({}), &clear, None).unwrap_err().class, ErrorClass::Unsupported);
    }

    #[test]
    fn transforms_are_idempotent() {
        for text in ["  Ada ", "00", "0049 1", "+49 (0) 1", "ÄÖ ß", "", "x"] {
            for transform in [Transform::Trim, Transform::Lower, Transform::Upper, Transform::Phone, Transform::Text] {
                let once = transformed(json!(text), &[transform]);
                assert_eq!(transformed(once.clone(), &[transform]), once, "{transform:?} {text:?}");
            }
        }
    }

    #[test]
    fn the_systems_field_names_are_turned_into_ours() {
        let entity = entity(json!({"external_id": "/ext_id", "city": "/address/city", "k": {"const": 1}}));
        let table = [("ext_id", Some("external_id")), ("/address/city", Some("city")), ("city", None)];
        for (theirs, ours) in table {
            assert_eq!(canonical_name(&entity.fields, theirs).as_deref(), ours);
        }
    }
}

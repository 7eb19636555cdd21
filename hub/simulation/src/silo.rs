//! A simulated silo: records, what is done to them, what it tells of it. Knows no hub; time comes in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, Op, OpKind, Written};

use crate::temper::{Casing, Temper, Versions};

/// A record of a silo.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Rises with every change.
    pub(crate) version: u64,
    /// When it was last changed, by the silo's clock, in milliseconds.
    pub(crate) changed_ms: u64,
    /// Its place in the order of all changes.
    pub(crate) order: u64,
    /// Its fields.
    pub(crate) fields: Map<String, Value>,
    /// Made by the hub.
    pub(crate) by_hub: bool,
}

/// What a write of the hub came to.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    /// The answer.
    pub(crate) written: Written,
    /// Whether it brought any value that this field of this record never had before.
    pub(crate) necessary: bool,
}

/// A silo.
#[derive(Debug)]
pub(crate) struct Silo {
    /// Its name.
    pub(crate) name: String,
    /// How it is.
    pub(crate) temper: Temper,
    /// By entity and key.
    pub(crate) records: BTreeMap<(String, String), Record>,
    /// Every value a field ever had, by entity, key and field.
    seen: BTreeSet<(String, String, String, String)>,
    /// Creates by idempotency key.
    orders: u64,
    next: u64,
}

impl Silo {
    /// An empty silo.
    #[must_use]
    pub(crate) fn new(name: String, temper: Temper) -> Self {
        Self { name, temper, records: BTreeMap::new(), seen: BTreeSet::new(), orders: 0, next: 0 }
    }

    fn stamp(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.temper.skew_ms)
    }

    /// A person makes a record.
    pub(crate) fn make(&mut self, entity: &str, fields: Map<String, Value>, now: u64) -> String {
        self.next += 1;
        let key = format!("{}{}", &entity[..1], self.next);
        self.records.insert((entity.to_owned(), key.clone()), Record::default());
        self.put(entity, &key, fields, now);
        key
    }

    /// Sets fields, as the silo stores them.
    pub(crate) fn put(&mut self, entity: &str, key: &str, fields: Map<String, Value>, now: u64) {
        let stamp = self.stamp(now);
        self.orders += 1;
        let (order, casing, digits) = (self.orders, self.temper.casing, self.temper.digits);
        let Some(record) = self.records.get_mut(&(entity.to_owned(), key.to_owned())) else { return };
        record.version += 1;
        record.changed_ms = stamp;
        record.order = order;
        for (name, value) in fields {
            let stored = stored(&name, value, casing, digits);
            self.seen.insert((entity.to_owned(), key.to_owned(), name.clone(), identity_of(&name, &stored)));
            record.fields.insert(name, stored);
        }
    }

    /// The version as it tells it.
    fn version(&self, record: &Record) -> Option<String> {
        match self.temper.versions {
            Versions::Counter => Some(record.version.to_string()),
            Versions::Seconds => Some((record.changed_ms / 1000).to_string()),
            Versions::Nothing => None,
        }
    }

    /// A record as it tells it now.
    #[must_use]
    pub(crate) fn item(&self, entity: &str, key: &str) -> Option<Item> {
        let record = self.records.get(&(entity.to_owned(), key.to_owned()))?;
        Some(Item {
            kind: ItemKind::Record,
            entity: entity.to_owned(),
            key: key.to_owned(),
            version: self.version(record),
            at_ms: self.temper.stamps.then_some(record.changed_ms + crate::world::EPOCH_MS),
            data: Value::Object(record.fields.clone()),
        })
    }

    /// The records changed after this place in the order of changes, oldest change first.
    #[must_use]
    pub(crate) fn after(&self, entity: &str, order: u64) -> Vec<(u64, Item)> {
        let mut found: Vec<(u64, Item)> = self
            .records
            .iter()
            .filter(|((of, _), record)| of == entity && record.order > order)
            .filter_map(|((_, key), record)| Some((record.order, self.item(entity, key)?)))
            .collect();
        found.sort_by_key(|(order, _)| *order);
        found
    }

    /// Carries out a write of the hub.
    pub(crate) fn apply(&mut self, entity: &str, op: &Op, now: u64) -> Result<Applied, ConnectorError> {
        if let (Some(every), Some(number)) = (self.temper.refuses, op.data.get("company").and_then(number_of))
            && number % every == 0
        {
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, "that company is not allowed").with_field("/company"));
        }
        let key = self.subject(entity, op)?;
        let fields = op.data.as_object().cloned().unwrap_or_default();
        let creates = key.is_none();
        let mut necessary = creates;
        let key = match key {
            Some(key) => key,
            None => self.make(entity, Map::new(), now),
        };
        for (name, value) in &fields {
            let stored = stored(name, value.clone(), self.temper.casing, self.temper.digits);
            necessary |= !self.seen.contains(&(entity.to_owned(), key.clone(), name.clone(), identity_of(name, &stored)));
        }
        let cleared = op.clear.iter().map(|name| (name.clone(), Value::Null));
        self.put(entity, &key, fields.into_iter().chain(cleared).collect(), now);
        if creates && let Some(record) = self.records.get_mut(&(entity.to_owned(), key.clone())) {
            record.by_hub = true;
        }
        let item = self.item(entity, &key).ok_or_else(|| ConnectorError::new(ErrorClass::Gone, "no such record"))?;
        let record = self.temper.answers.then_some(item.data);
        let version = if self.temper.answers || self.temper.versions == Versions::Counter { item.version } else { None };
        Ok(Applied { written: Written { key, version, record }, necessary })
    }

    /// The record an op is about; none for one that is to be made.
    fn subject(&self, entity: &str, op: &Op) -> Result<Option<String>, ConnectorError> {
        match op.kind {
            OpKind::Create => Ok(None),
            OpKind::Upsert => {
                let ours = json!(op.id);
                let of = |((of, _), record): &(&(String, String), &Record)| of == entity && record.fields.get("hub_id") == Some(&ours);
                Ok(self.records.iter().find(of).map(|((_, key), _)| key.clone()))
            }
            OpKind::Update | OpKind::Delete => {
                let key = op.key.clone().unwrap_or_default();
                let Some(record) = self.records.get(&(entity.to_owned(), key.clone())) else {
                    return Err(ConnectorError::new(ErrorClass::Gone, "no such record"));
                };
                if op.expect_version.as_ref().is_some_and(|expected| Some(expected) != self.version(record).as_ref()) {
                    return Err(ConnectorError::new(ErrorClass::Conflict, "it has changed"));
                }
                Ok(Some(key))
            }
        }
    }
}

/// What the silo makes of a value.
fn stored(name: &str, value: Value, casing: Casing, digits: bool) -> Value {
    match (name, &value) {
        ("company", Value::String(text)) if casing == Casing::Upper => text.to_uppercase().into(),
        ("phone", Value::String(text)) if digits => text.chars().filter(char::is_ascii_digit).collect::<String>().into(),
        _ => value,
    }
}

/// What tells one value of a field from another: numbers are the same however they are written.
fn identity_of(name: &str, value: &Value) -> String {
    match number_of(value) {
        Some(number) if name == "phone" => number.to_string(),
        _ => value.to_string(),
    }
}

/// The number of the edit that a value came from: its last digits.
#[must_use]
pub(crate) fn number_of(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    if text.starts_with("pro_") || text.starts_with("enq_") || text.contains('@') {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits[digits.len().saturating_sub(7)..].parse().ok()
}

//! Creating a record so that doing it twice has one effect, as far as the system lets us.

use serde_json::{Map, Value};
use throughline_plugin_sdk::{Error, ErrorClass, Op, Result, Written, log};

use super::Context;
use crate::config::Idempotency;
use crate::template::Variables;
use crate::{mapping, pointer, record};

impl Context<'_> {
    pub(super) fn create(&self, op: &Op) -> Result<Written> {
        let endpoint = self.endpoint(self.rules.create.as_ref(), "created")?;
        let mut data = op.data.as_object().cloned().unwrap_or_default();
        let ours = self.our_key(&mut data, op);
        if let Some((field, value)) = &ours
            && let Some(found) = self.find(field, value)?
        {
            return self.bring_up_to_date(&found, &data, op);
        }
        let data = Value::Object(data);
        let fields = self.as_stored(&data, &[])?;
        let mut headers = Vec::new();
        if let Idempotency::Header { name } = &self.rules.idempotency {
            headers.push((name.clone(), op.idempotency_key.clone()));
        }
        let variables = Variables::default().with("idempotency_key", &op.idempotency_key);
        match self.send(endpoint, "POST", &variables, Some(&fields), headers) {
            Ok(answer) => self.written(endpoint, &answer, None),
            Err(error) if error.class == ErrorClass::Conflict => self.already_there(&data, error),
            Err(error) if error.class == ErrorClass::Ambiguous => self.perhaps_there(ours.as_ref(), error),
            Err(error) => Err(error),
        }
    }

    /// The field that holds a key of ours, and the key: what the hub gave, or the op's own.
    fn our_key(&self, data: &mut Map<String, Value>, op: &Op) -> Option<(String, String)> {
        let Idempotency::Upsert { field } = &self.rules.idempotency else { return None };
        let given = data.get(field).and_then(pointer::scalar).filter(|value| !value.is_empty());
        let value = given.unwrap_or_else(|| op.idempotency_key.clone());
        data.insert(field.clone(), Value::from(value.as_str()));
        Some((field.clone(), value))
    }

    /// The record with our key exists: an earlier create took effect. What differs by now is written to it.
    fn bring_up_to_date(&self, found: &Value, data: &Map<String, Value>, op: &Op) -> Result<Written> {
        let key = record::key(self.entity, found).ok_or_else(|| self.without_id())?;
        let held = mapping::to_canonical(self.entity, found);
        let differs = |name: &String, value: &Value| held.get(name).is_none_or(|known| !mapping::same(known, value));
        let delta: Map<String, Value> =
            data.iter().filter(|(name, value)| differs(name, value)).map(|(name, value)| (name.clone(), value.clone())).collect();
        if delta.is_empty() || self.rules.update.is_none() {
            return Ok(self.existing(&key, found, None));
        }
        self.update(&key, &Value::Object(delta), &[], None, &op.idempotency_key)
    }

    /// The system refuses a second record with a unique value: the one it has is the answer, and is left as it is.
    fn already_there(&self, data: &Value, refused: Error) -> Result<Written> {
        for field in self.fields_at_fault(data, &refused) {
            let Some(value) = data.get(&field).and_then(pointer::scalar).filter(|value| !value.is_empty()) else { continue };
            if let Some(found) = self.find(&field, &value)?
                && let Some(key) = record::key(self.entity, &found)
            {
                log::info(format!("a record of {:?} with this {field} exists already: taking it", self.name));
                return Ok(self.existing(&key, &found, None));
            }
        }
        // Without a record to re-read, "conflict, re-read" would go round in circles.
        Err(Error { class: ErrorClass::InvalidRecord, ..refused })
    }

    /// The answer was lost: if the record is there, the create took effect.
    fn perhaps_there(&self, ours: Option<&(String, String)>, lost: Error) -> Result<Written> {
        let Some((field, value)) = ours else { return Err(lost) };
        let found = self.find(field, value).ok().flatten();
        match found.and_then(|found| Some((record::key(self.entity, &found)?, found))) {
            Some((key, found)) => Ok(self.existing(&key, &found, None)),
            None => Err(lost),
        }
    }

    /// The fields that the refusal names, as far as records can be found by them; otherwise all that records can be found by.
    fn fields_at_fault(&self, data: &Value, refused: &Error) -> Vec<String> {
        let named = refused.details.as_ref().and_then(|details| details.get("fields")).and_then(Value::as_object);
        let named = named.into_iter().flat_map(|fields| fields.keys().cloned()).chain(refused.field.clone());
        let mut fields: Vec<String> = named.filter(|field| self.entity.lookups.contains_key(field)).collect();
        if fields.is_empty() {
            fields = self.entity.lookups.keys().filter(|field| data.get(*field).is_some()).cloned().collect();
        }
        fields
    }
}

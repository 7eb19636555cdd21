//! Takes out of a run's history what is personal or secret: the values themselves are known, so they are looked for wherever they occur.

use std::collections::BTreeSet;

use serde_json::Value;
use throughline_schemas::{Classification, Enquiry, Profile};

/// What stands where something was taken out.
const REDACTED: &str = "[redacted]";
/// A shorter value occurs by chance in too much else.
const SHORTEST: usize = 3;

/// Knows values that must not be kept.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first, so that none is broken up by a shorter one within it.
    values: Vec<String>,
}

impl Redactor {
    /// Knows everything personal of a profile, and an enquiry's variables of class `pii` and `secret`.
    #[must_use]
    pub fn new(profile: Option<&Profile>, enquiry: Option<&Enquiry>) -> Self {
        let mut values = BTreeSet::new();
        if let Some(profile) = profile {
            profile.fields.values().for_each(|field| collect(&field.value, &mut values));
            for identity in &profile.identities {
                values.extend([identity.value.clone(), identity.raw.clone()]);
            }
        }
        for variable in enquiry.into_iter().flat_map(|enquiry| enquiry.variables.values()) {
            if variable.classification >= Classification::Pii {
                collect(&variable.value, &mut values);
            }
        }
        let mut redactor = Self::default();
        redactor.learn(values);
        redactor
    }

    /// Learns more.
    pub fn learn(&mut self, values: impl IntoIterator<Item = String>) {
        self.values.extend(values.into_iter().filter(|value| value.chars().count() >= SHORTEST));
        self.values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        self.values.dedup();
    }

    /// Learns every text and number in a value.
    pub fn learn_value(&mut self, value: &Value) {
        let mut values = BTreeSet::new();
        collect(value, &mut values);
        self.learn(values);
    }

    /// A copy without them.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(number) if self.values.contains(&number.to_string()) => Value::from(REDACTED),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.apply(item)).collect()),
            Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (self.text(name), self.apply(value))).collect()),
            other => other.clone(),
        }
    }

    /// A text without them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.values
            .iter()
            .fold(text.to_owned(), |text, value| if text.contains(value.as_str()) { text.replace(value.as_str(), REDACTED) } else { text })
    }
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Number(number) => drop(into.insert(number.to_string())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_values_are_taken_out_wherever_they_occur() {
        let mut redactor = Redactor::default();
        redactor.learn(["Ada".to_owned(), "Ada Lovelace".to_owned(), "12".to_owned()]);
        redactor.learn_value(&json!({"code": [4711, "s3cret"], "on": true}));
        let value =
            json!({"text": "Dear Ada Lovelace, Ada", "n": 4711, "m": 47110, "deep": [{"x": "s3cret-s3cret"}], "short": "12", "on": true});
        assert_eq!(
            redactor.apply(&value),
            json!({"text": "Dear [redacted], [redacted]", "n": "[redacted]", "m": 47110, "deep": [{"x": "[redacted]-[redacted]"}], "short": "12", "on": true})
        );
    }
}
